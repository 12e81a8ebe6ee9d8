"""Fleet search: many devices and budgets in one run. Each search starts with what earlier searches found.

A network evaluated for one device can be costed for any other device, so all evaluations are kept. They seed later searches,
give each device its Pareto front, and are the data for an additive predictor.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ofa_core.predictor.additive import AdditivePredictor, stage_choices
from ofa_core.search.additive_cost import AdditiveCost
from ofa_core.search.budget import Budget, Objective, Predictor, cost_range
from ofa_core.search.engine import SearchResult, improve, result, settings_of
from ofa_core.search.evolution import FRONT
from ofa_core.search.exact import SAMPLES, optimum
from ofa_core.search.problem import Problem
from ofa_core.search.published import random_members
from ofa_core.space.base import Space

SHARED = 300
"""Number of best networks from other searches that a search starts with."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One search of a fleet: the device whose cost is limited, and the limit."""

    device: str
    limit: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A result next to what other methods find within the same budget and with the same predictor.

    random: top-1 of random search with the same number of evaluations.
    exact: predicted top-1 of the proven optimum of an additive predictor fitted to all evaluations. None if the space has none.
    estimated_gap: how much better the additive predictor rates its optimum than the result. None if the space has none.
      It is an estimate: only an additive predictor has a proven optimum.
    """

    found: SearchResult
    random: float
    exact: float | None
    estimated_gap: float | None


class Fleet:
    """All searches of one space with one predictor, over any number of costs."""

    def __init__(
        self, space: Space, predictor: Predictor, costs: Mapping[str, AdditiveCost], seed: int = 0, deviations: float = 0.0
    ) -> None:
        """costs: by device. seed, deviations: as in `search`."""
        self.space, self.predictor, self.costs, self.seed = space, predictor, costs, seed
        self.deviations, self.objective = deviations, Objective(space, predictor, deviations)
        self.codes = np.zeros((0, len(space.genes)), np.int16)
        self.resolutions, self.values = np.zeros(0, int), np.zeros(0)

    def search(
        self,
        targets: Mapping[str, Target],
        engine: str = "evolution",
        effort: str = "normal",
        progress: Callable[[Sequence[str]], Any] = list,
    ) -> dict[str, Comparison]:
        """The results of all targets, by name. progress: wraps the iterable of names, as tqdm does.

        Before any search starts, raises ValueError, naming the target, for a budget that cannot be met.
        """
        settings = settings_of(engine, effort)
        problems = {name: self._problem(target, name) for name, target in targets.items()}
        found = {}
        for name in progress(sorted(problems, key=lambda name: (targets[name].device, targets[name].limit))):
            started, problem, rng = time.perf_counter(), problems[name], np.random.default_rng(self.seed)
            known = self._known(problem)
            best, proven = improve(problem, self.predictor, rng, engine, settings, self.deviations, known)
            found[name] = problem, best, time.perf_counter() - started, proven
            self._keep(problem)
        additive = self._additive() if found else None
        return {name: self._compare(*found[name], additive) for name in targets}

    def front(self, points: int = 12, progress: Callable[[Sequence[float]], Any] = list) -> pd.DataFrame:
        """The Pareto front of every device: device, cost, value, resolution and genes of each undominated network.

        points: number of short searches that fill the front. Their budgets are spaced by equal ratios from lowest to highest
        cost.
        """
        tables = []
        for device, cost in self.costs.items():
            lowest, highest = cost_range(self.space, cost)
            for limit in progress(list(np.geomspace(lowest, highest, points))):
                problem = self._problem(Target(device=device, limit=limit * (1 + 1e-12)), device)
                rng = np.random.default_rng([self.seed, 1])
                improve(problem, self.predictor, rng, "evolution", FRONT, self.deviations, self._known(problem))
                self._keep(problem)
            costs = cost.of_codes(self.codes, self.resolutions)
            order = np.lexsort((-self.values, costs))
            best = np.maximum.accumulate(self.values[order])
            order = order[np.concatenate([[True], best[1:] > best[:-1]]) & np.isfinite(costs[order])]
            archs = self.space.decode(self.codes[order], self.resolutions[order])
            rows = {"device": device, cost.quantity: costs[order], "objective": self.values[order]}
            genes = {
                field: [" ".join(map(str, getattr(arch, field))) for arch in archs]
                for field in ("ks", "e", "d", "w")
                if getattr(archs[0], field) is not None
            }
            tables.append(pd.DataFrame(rows | genes | {"r": self.resolutions[order]}))
        return pd.concat(tables, ignore_index=True)

    def _problem(self, target: Target, name: str) -> Problem:
        return _problem(self.space, self.objective, self.costs[target.device], target, name)

    def _known(self, problem: Problem) -> Any:
        costs = problem.cost.of_codes(self.codes, self.resolutions)
        fits = np.flatnonzero(costs <= problem.limit)
        best = fits[np.argsort(-self.values[fits], kind="stable")[:SHARED]]
        return problem.members(self.codes[best], self.resolutions[best], self.values[best]) if len(best) else None

    def _keep(self, problem: Problem) -> None:
        codes, resolutions, values = (np.concatenate(parts) for parts in zip(*problem.seen, strict=True))
        self.codes = np.concatenate([self.codes, codes])
        self.resolutions = np.concatenate([self.resolutions, resolutions])
        self.values = np.concatenate([self.values, values])

    def _additive(self) -> AdditivePredictor | None:
        try:
            columns = [stage.columns for stage in stage_choices(self.space)]
        except ValueError:
            return None
        some = np.random.default_rng([self.seed, 2]).permutation(len(self.codes))[:SAMPLES]
        return AdditivePredictor.fit_codes(self.space, self.codes[some], self.resolutions[some], self.values[some], columns)

    def _compare(self, problem: Problem, best: Any, seconds: float, proven: bool, additive: Any) -> Comparison:
        found = result(problem, best, self.predictor, None, seconds, proven)
        again = Problem(self.space, self.objective, problem.cost, problem.limit)
        chance = random_members(again, found.evaluations, np.random.default_rng(self.seed))
        random = result(again, again.select(chance, 1, 1), self.predictor, None, 0.0).accuracy
        if additive is None:
            return Comparison(found=found, random=random, exact=None, estimated_gap=None)
        code, resolution, value = optimum(problem, additive)
        exact = float(self.predictor.predict_codes(code[None], np.array([resolution]))[0])
        return Comparison(
            found=found, random=random, exact=exact, estimated_gap=value - float(additive.predict([found.arch])[0])
        )


def check_budgets(space: Space, costs: Mapping[str, AdditiveCost], targets: Mapping[str, Target]) -> None:
    """Raises ValueError, naming the target, for a budget that cannot be met. The message gives the reachable range."""
    for name, target in targets.items():
        _problem(space, lambda codes, _: np.zeros(len(codes)), costs[target.device], target, name)


def _problem(space: Space, objective: Any, cost: AdditiveCost, target: Target, name: str) -> Problem:
    try:
        return Budget(quantity=cost.quantity, limit=target.limit).problem(space, objective, cost)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
