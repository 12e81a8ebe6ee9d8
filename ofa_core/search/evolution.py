"""Evolutionary search under a latency budget, on arrays of encoded architectures.

Once-for-All, appendix and published code: a population of 100, the best quarter as parents, half of the children mutated, half
crossed over, the budget a hard constraint. Here a generation is a few array operations; infeasible children are replaced by
their feasible parents' next tries, never waited for; and the best found is polished by single changes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ofa_core.arch import Arch
from ofa_core.predictor.features import present_genes
from ofa_core.search.budget import LatencyOf, extreme, latency_range, single_changes
from ofa_core.space import Space


class Predictor(Protocol):
    """What the search needs of an accuracy predictor."""

    def predict_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Expected top-1 (n,) of encoded architectures."""


class Table(Protocol):
    """What the search needs of a latency table."""

    def predict_codes(self, space: Space, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Milliseconds (n,) of encoded architectures."""


@dataclass(frozen=True)
class SearchResult:
    """The best architecture found: predicted top-1 (0..1), predicted latency, evaluations of the predictor, wall time."""

    arch: Arch
    accuracy: float
    latency_ms: float
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Population:
    """Encoded architectures with their predicted accuracy and latency; codes (n, genes), the others (n,)."""

    codes: np.ndarray
    resolutions: np.ndarray
    accuracy: np.ndarray
    latency: np.ndarray

    def take(self, index: np.ndarray) -> "Population":
        """The members at `index`."""
        return Population(self.codes[index], self.resolutions[index], self.accuracy[index], self.latency[index])

    def best(self, count: int) -> "Population":
        """The first `count` members, or all where there are fewer."""
        return self.take(np.arange(min(count, len(self.accuracy))))

    def join(self, other: "Population") -> "Population":
        """Both, without members that are the same network, best first."""
        fields = ("codes", "resolutions", "accuracy", "latency")
        codes, resolutions, accuracy, latency = (np.concatenate([getattr(self, f), getattr(other, f)]) for f in fields)
        _, first = np.unique(np.column_stack([codes, resolutions]), axis=0, return_index=True)
        order = first[np.lexsort((first, -accuracy[first]))]
        return Population(codes[order], resolutions[order], accuracy[order], latency[order])


def search(
    space: Space,
    predictor: Predictor,
    table: Table,
    *,
    budget_ms: float,
    seed: int = 0,
    resolutions: Sequence[int] | None = None,
    population: int = 100,
    generations: int = 100,
    parent_ratio: float = 0.25,
    mutation_prob: float = 0.1,
) -> SearchResult:
    """The most accurate sub-network whose predicted latency is at most `budget_ms`.

    resolutions: the input resolutions to choose from; the space's own by default. Equal arguments give equal results.
    Raises ValueError, at once, when nothing fits the budget; it says what the lowest reachable latency is. Raises KeyError
    when the table lacks a layer.
    """
    started = time.perf_counter()
    problem = _Problem(space, predictor, table, budget_ms, tuple(resolutions or space.resolutions), np.random.default_rng(seed))
    current = problem.random(population, tries=20)
    for _ in range(generations):
        parents = current.best(max(2, round(population * parent_ratio)))
        children = problem.evaluate(*problem.children(parents, population, mutation_prob))
        current = parents.join(children).best(population)
    best = problem.polish(current)
    arch = space.decode(best.codes, best.resolutions)[0]
    seconds = time.perf_counter() - started
    return SearchResult(arch, float(best.accuracy[0]), float(best.latency[0]), problem.evaluations, seconds)


def random_search(
    space: Space,
    predictor: Predictor,
    table: Table,
    *,
    budget_ms: float,
    evaluations: int,
    seed: int = 0,
    resolutions: Sequence[int] | None = None,
) -> SearchResult:
    """The best of feasible random sub-networks: what a search must beat with as many evaluations of the predictor."""
    started = time.perf_counter()
    problem = _Problem(space, predictor, table, budget_ms, tuple(resolutions or space.resolutions), np.random.default_rng(seed))
    best = problem.random(evaluations, tries=4).best(1)
    arch = space.decode(best.codes, best.resolutions)[0]
    seconds = time.perf_counter() - started
    return SearchResult(arch, float(best.accuracy[0]), float(best.latency[0]), problem.evaluations, seconds)


class _Problem:
    """The budget, the generator and the count of evaluations of one search."""

    def __init__(
        self,
        space: Space,
        predictor: Predictor,
        table: Table,
        budget_ms: float,
        resolutions: tuple[int, ...],
        rng: np.random.Generator,
    ) -> None:
        self.space, self.predictor, self.budget_ms, self.rng = space, predictor, budget_ms, rng
        self.latency_of: LatencyOf = lambda codes, resolutions: table.predict_codes(space, codes, resolutions)
        self.choices = np.array([len(gene.choices) for gene in space.genes])
        self.evaluations = 0
        cheapest = [extreme(space, self.latency_of, resolution, 1) for resolution in resolutions]
        fitting = [i for i, (_, latency) in enumerate(cheapest) if latency <= budget_ms]
        if not fitting:
            lowest, highest = latency_range(space, self.latency_of, resolutions)
            raise ValueError(f"budget_ms: {budget_ms:g} cannot be met; reachable are {lowest:.4g} to {highest:.4g} ms")
        self.resolutions = np.array(resolutions)[fitting]
        self.cheapest = np.array([cheapest[i][0] for i in fitting])

    def evaluate(self, codes: np.ndarray, resolutions: np.ndarray) -> Population:
        """The feasible ones of the given architectures, without doubles, best first."""
        codes = np.where(present_genes(self.space, codes), codes, 0)  # one code for one network
        both = np.unique(np.column_stack([codes, resolutions]), axis=0)
        codes, resolutions = both[:, :-1], both[:, -1]
        latency = self.latency_of(codes, resolutions)
        feasible = latency <= self.budget_ms
        codes, resolutions, latency = codes[feasible], resolutions[feasible], latency[feasible]
        self.evaluations += len(codes)
        accuracy = self.predictor.predict_codes(codes, resolutions) if len(codes) else np.zeros(0)
        order = np.argsort(-accuracy, kind="stable")
        return Population(codes[order], resolutions[order], accuracy[order], latency[order])

    def random(self, count: int, tries: int) -> Population:
        """At most `count` feasible architectures: random ones, drawn towards the fastest as far as the budget asks."""
        which = self.rng.integers(len(self.resolutions), size=count * tries)
        towards = self.rng.random((len(which), 1))
        drawn = self.rng.integers(self.choices, size=(len(which), len(self.choices)))
        keep = self.rng.random(drawn.shape) < towards
        codes = np.where(keep, self.cheapest[which], drawn)
        feasible = np.flatnonzero(self.latency_of(codes, self.resolutions[which]) <= self.budget_ms)[:count]
        codes = codes[feasible]
        # The fastest itself is always feasible, so a population is never empty.
        codes = np.concatenate([self.cheapest, codes])[:count]
        return self.evaluate(codes, np.concatenate([self.resolutions, self.resolutions[which[feasible]]])[:count])

    def children(self, parents: Population, count: int, mutation_prob: float) -> tuple[np.ndarray, np.ndarray]:
        """`count` mutated and as many crossed-over architectures; more than needed, since some will not fit the budget."""
        first, second = self.rng.integers(len(parents.accuracy), size=(2, 2 * count))
        codes, resolutions = parents.codes[first].copy(), parents.resolutions[first].copy()
        drawn = self.rng.integers(self.choices, size=codes.shape)
        mutate = self.rng.random(codes.shape) < mutation_prob
        cross = self.rng.random(codes.shape) < 0.5
        mutated = np.arange(2 * count) < count
        codes = np.where(mutated[:, None], np.where(mutate, drawn, codes), np.where(cross, parents.codes[second], codes))
        new_resolution = self.rng.choice(self.resolutions, size=2 * count)
        change = self.rng.random(2 * count) < np.where(mutated, mutation_prob, 0.5)
        resolutions = np.where(change, np.where(mutated, new_resolution, parents.resolutions[second]), resolutions)
        return codes, resolutions

    def polish(self, population: Population, count: int = 5) -> Population:
        """The best after single changes to each of the `count` best members, as long as they help."""
        best = population.best(1)
        for i in range(len(population.best(count).accuracy)):
            current = population.take(np.array([i]))
            while True:
                codes = single_changes(self.space, current.codes[0])
                same = self.evaluate(codes, np.full(len(codes), current.resolutions[0]))
                if not len(same.accuracy) or same.accuracy[0] <= current.accuracy[0]:
                    break
                current = same.best(1)
            if current.accuracy[0] > best.accuracy[0]:
                best = current
        return best
