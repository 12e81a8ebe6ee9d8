"""Times the search with the official predictor and Note 10 tables, and compares evolution on arrays with plain loops.

    python -m benchmarks.search [--data ../shared/data/ofa] [--seeds 5] [--effort normal] [--rounds 3] [--generations 500]

The first part runs the published settings (population 100, 500 generations, about 50,000 evaluations) three times, interleaved:
on arrays (`benchmarks.published_evolution`), and with two straightforward versions of the published code. The plain loop passes
one architecture at a time through `LatencyTable.predict` and the predictor. The tuned loop keeps the latencies of blocks in
dictionaries and passes a whole population through the perceptron. Times are CPU seconds.

The second part runs our search at seven budgets with several seeds.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.published_evolution import published_evolution
from ofa_core.latency import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.search import search
from ofa_core.search.additive_cost import AdditiveCost
from ofa_core.search.problem import Problem
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space

RESOLUTIONS = (160, 192, 224)
BEST = {15: 0.7880, 18: 0.8014, 20: 0.8079, 25: 0.8222, 30: 0.8319, 35: 0.8379, 40: 0.8423}
"""Best known predicted top-1 for each budget in milliseconds, from hours of local search."""

Genes = dict[str, list[int]]


class TunedLoop:
    """The published evolution with latencies in dictionaries, and with one perceptron call per population."""

    def __init__(self, space: Space, predictor: OfficialPredictor, table: LatencyTable, budget: float, seed: int) -> None:
        self.space, self.predictor, self.budget, self.random = space, predictor, budget, random.Random(seed)
        self.latency = {r: self._blocks(table, r) for r in RESOLUTIONS}
        self.evaluations = 0

    def _blocks(self, table: LatencyTable, r: int) -> tuple[float, list[dict[tuple[int, int], float]]]:
        """Milliseconds of the layers that every network has, and of each block by kernel size and expand ratio."""
        tables, constant = table.slot_tables(self.space, r)
        blocks = []
        for slot, values in zip(self.space.slots, tables, strict=True):
            if slot.depth is None:
                constant += float(values)
            else:
                blocks.append({(k, e): float(values[i, j]) for i, k in enumerate((3, 5, 7)) for j, e in enumerate((3, 4, 6))})
        return constant, blocks

    def efficiency(self, arch: Genes) -> float:
        """Milliseconds of a network, added layer by layer."""
        constant, blocks = self.latency[arch["r"][0]]
        total = constant
        for stage, depth in enumerate(arch["d"]):
            for block in range(4 * stage, 4 * stage + depth):
                total += blocks[block][arch["ks"][block], arch["e"][block]]
        return total

    def accuracies(self, archs: list[Genes]) -> np.ndarray:
        """Top-1 (n,): features in a loop, then one perceptron call for all."""
        rows = []
        for arch in archs:
            x = [0.0] * 128
            for stage, depth in enumerate(arch["d"]):
                for block in range(4 * stage, 4 * stage + depth):
                    x[3 * block + (3, 5, 7).index(arch["ks"][block])] = 1.0
                    x[60 + 3 * block + (3, 4, 6).index(arch["e"][block])] = 1.0
            x[120 + (arch["r"][0] - 112) // 16] = 1.0
            rows.append(x)
        self.evaluations += len(archs)
        hidden = np.array(rows, np.float32)
        for i, (weight, bias) in enumerate(self.predictor.layers):
            hidden = hidden @ weight + bias
            hidden = np.maximum(hidden, 0) if i < 3 else hidden
        return hidden[:, 0]

    def fitting(self, make: Callable[[], Genes]) -> Genes:
        """The first architecture from `make` that is within the budget."""
        while True:
            arch = make()
            if self.efficiency(arch) <= self.budget:
                return arch

    def sample(self) -> Genes:
        """A random architecture."""
        pick = self.random.choice
        return {"ks": [pick((3, 5, 7)) for _ in range(20)], "e": [pick((3, 4, 6)) for _ in range(20)],
                "d": [pick((2, 3, 4)) for _ in range(5)], "r": [pick(RESOLUTIONS)]}  # fmt: skip

    def mutate(self, parent: Genes) -> Genes:
        """A copy in which every gene is redrawn with probability 0.1."""
        fresh = self.sample()
        return {key: [new if self.random.random() < 0.1 else old for new, old in zip(fresh[key], genes, strict=True)]
                for key, genes in parent.items()}  # fmt: skip

    def crossover(self, a: Genes, b: Genes) -> Genes:
        """A child that takes every gene from one of the two parents."""
        return {key: [self.random.choice(pair) for pair in zip(genes, b[key], strict=True)] for key, genes in a.items()}

    def run(self, population: int, generations: int) -> float:
        """Runs the evolution and returns the best predicted top-1."""
        archs = [self.fitting(self.sample) for _ in range(population)]
        members = list(zip(self.accuracies(archs).tolist(), archs, strict=True))
        best = max(value for value, _ in members)
        for _ in range(generations):
            parents = sorted(members, key=lambda member: -member[0])[: population // 4]
            best = max(best, parents[0][0])
            pick = lambda parents=parents: self.random.choice(parents)[1]  # noqa: E731
            children = [self.fitting(lambda pick=pick: self.mutate(pick())) for _ in range(population // 2)]
            children += [self.fitting(lambda pick=pick: self.crossover(pick(), pick())) for _ in range(population // 2)]
            members = parents + list(zip(self.accuracies(children).tolist(), children, strict=True))
        return best


class PlainLoop(TunedLoop):
    """The published evolution with functions for one architecture at a time."""

    def __init__(self, space: Space, predictor: OfficialPredictor, table: LatencyTable, budget: float, seed: int) -> None:
        super().__init__(space, predictor, table, budget, seed)
        self.table = table

    def efficiency(self, arch: Genes) -> float:
        """Milliseconds of a network, from `LatencyTable.predict`."""
        return self.table.predict(self.space, _arch(arch))

    def accuracies(self, archs: list[Genes]) -> np.ndarray:
        """Top-1 (n,), one architecture at a time."""
        self.evaluations += len(archs)
        return np.array([self.predictor.predict([_arch(arch)])[0] for arch in archs])


def _arch(genes: Genes) -> Arch:
    return Arch(genes["ks"], genes["e"], genes["d"], genes["r"][0])  # type: ignore[arg-type]


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description="time the search of ofa_mbv3 with the official predictor and tables")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ofa"), help="has acc_predictor.pth and note10/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--generations", type=int, default=500)
    args = parser.parse_args()
    space, table = get_space("ofa_mbv3", 1.2, RESOLUTIONS), LatencyTable.load(args.data / "note10")
    predictor = AccuracyPredictor.load(args.data / "acc_predictor.pth")
    assert isinstance(predictor, OfficialPredictor)
    if args.rounds:
        compare(space, predictor, table, args.rounds, args.generations)
    print(f"\nsearch, effort {args.effort}, {args.seeds} seeds: predicted top-1 in points from the best known")
    for budget, best in BEST.items():
        found, seconds = [], []
        for seed in range(args.seeds):
            started = time.process_time()
            found.append(search(space, predictor, table, budget_ms=float(budget), seed=seed, effort=args.effort))
            seconds.append(time.process_time() - started)
        points = " ".join(f"{100 * (one.accuracy - best):+.3f}" for one in found)
        count = statistics.median(one.evaluations for one in found)
        times = f"{statistics.median(seconds):.2f} s in the median, {max(seconds):.2f} s at most"
        print(f"{budget:3} ms: {points}  {times}, {count:.0f} evaluations", flush=True)


def published(
    space: Space, predictor: OfficialPredictor, table: LatencyTable, seed: int, generations: int
) -> tuple[float, int]:
    """The published evolution on arrays, at 25 ms: the best predicted top-1 and the number of evaluations."""
    cost = AdditiveCost.latency(space, table, RESOLUTIONS)
    problem = Problem(space, predictor.predict_codes, cost, 25.0)
    members = published_evolution(problem, 100, generations, np.random.default_rng(seed))
    return float(members.value[0]), problem.evaluations


def compare(space: Space, predictor: OfficialPredictor, table: LatencyTable, rounds: int, generations: int) -> None:
    """Runs all three in turn at 25 ms, for several rounds."""
    ratios: dict[str, list[float]] = {"plain": [], "tuned": []}
    for seed in range(rounds):
        started = time.process_time()
        found, evaluations = published(space, predictor, table, seed, generations)
        arrays = time.process_time() - started
        print(f"arrays: {arrays:.2f} s, {evaluations} evaluations, top-1 {found:.4f}", flush=True)
        for name, loop_class in (("plain", PlainLoop), ("tuned", TunedLoop)):
            loop = loop_class(space, predictor, table, 25.0, seed)
            started = time.process_time()
            best = loop.run(100, generations)
            seconds = time.process_time() - started
            ratios[name].append(seconds / loop.evaluations / (arrays / evaluations))
            print(
                f"{name} loop: {seconds:.2f} s, {loop.evaluations} evaluations, top-1 {best:.4f}, {ratios[name][-1]:.1f} times"
            )
    print(", ".join(f"{name}: median ratio {statistics.median(values):.1f}" for name, values in ratios.items()))


if __name__ == "__main__":
    main()
