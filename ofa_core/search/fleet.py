"""Fleet search: many devices and budgets in one run. Each search starts with what earlier searches found.

A network evaluated for one device can be costed for any other device, so all evaluations are kept. They seed later searches
and give each device its Pareto front.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ofa_core.run.errors import InputError
from ofa_core.search.additive_cost import AdditiveCost
from ofa_core.search.budget import Objective, Predictor, cost_range
from ofa_core.search.engine import SearchResult, improve, result, settings_of
from ofa_core.search.evolution import FRONT
from ofa_core.search.moves import random_members
from ofa_core.search.problem import Members, Problem
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
    """A result next to the top-1 of random search within the same budget, with the same predictor and as many evaluations."""

    found: SearchResult
    random: float


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
        effort: str = "normal",
        candidates: int = 1,
        progress: Callable[[Sequence[str]], Any] = list,
    ) -> dict[str, Comparison]:
        """The results of all targets, by name. candidates: as in `search`. progress: wraps the iterable of names, as tqdm does.

        Before any search starts, raises InputError, naming the target, for a budget that cannot be met.
        """
        settings = settings_of(effort)
        problems = {name: self._problem(target, name) for name, target in targets.items()}
        compared = {}
        for name in progress(sorted(problems, key=lambda name: (targets[name].device, targets[name].limit))):
            started, problem, rng = time.perf_counter(), problems[name], np.random.default_rng(self.seed)
            best = improve(problem, self.predictor, rng, settings, self.deviations, self._known(problem))
            found = result(problem, best, self.predictor, None, candidates, time.perf_counter() - started)
            self._keep(problem)
            compared[name] = Comparison(found=found, random=self._random(problem, found.evaluations))
        return {name: compared[name] for name in targets}

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
                improve(problem, self.predictor, rng, FRONT, self.deviations, self._known(problem))
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

    def _known(self, problem: Problem) -> Members | None:
        costs = problem.cost.of_codes(self.codes, self.resolutions)
        fits = np.flatnonzero(costs <= problem.limit)
        best = fits[np.argsort(-self.values[fits], kind="stable")[:SHARED]]
        return problem.members(self.codes[best], self.resolutions[best], self.values[best]) if len(best) else None

    def _keep(self, problem: Problem) -> None:
        codes, resolutions, values = (np.concatenate(parts) for parts in zip(*problem.seen, strict=True))
        self.codes = np.concatenate([self.codes, codes])
        self.resolutions = np.concatenate([self.resolutions, resolutions])
        self.values = np.concatenate([self.values, values])

    def _random(self, problem: Problem, evaluations: int) -> float:
        again = Problem(self.space, self.objective, problem.cost, problem.limit)
        members = random_members(again, evaluations, np.random.default_rng(self.seed))
        return result(again, members, self.predictor, None, 1, 0.0).accuracy


def check_budgets(space: Space, costs: Mapping[str, AdditiveCost], targets: Mapping[str, Target]) -> None:
    """Raises InputError, naming the target, for a budget that cannot be met. The message gives the reachable range."""
    for name, target in targets.items():
        _problem(space, lambda codes, _: np.zeros(len(codes)), costs[target.device], target, name)


def _problem(space: Space, objective: Any, cost: AdditiveCost, target: Target, name: str) -> Problem:
    try:
        return Problem(space, objective, cost, target.limit)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
