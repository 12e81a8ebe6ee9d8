"""`search`: the best sub-networks within a budget. Random search is the baseline to beat."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.search.additive_cost import AdditiveCost, Table
from ofa_core.search.budget import Budget, Objective, Predictor
from ofa_core.search.evolution import EFFORTS, Settings, evolve
from ofa_core.search.moves import random_members
from ofa_core.search.problem import Members, Problem
from ofa_core.search.slopes import linear_slopes
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space

PER_STRATUM = 5
"""Most candidates of one resolution and depth vector, as long as there are others."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network within the budget.

    accuracy: predicted top-1 (0..1). latency_ms: predicted, None without a table. cost: the limited quantity, in its unit.
    objective: the maximised value.
    """

    arch: Arch
    accuracy: float
    latency_ms: float | None
    cost: float
    objective: float


@dataclass(frozen=True, kw_only=True)
class SearchResult(Candidate):
    """The best architecture found.

    candidates: the best distinct architectures, best first; the first is this one. evaluations: calls of the predictor;
    slopes count as two. seconds: wall time.
    """

    candidates: tuple[Candidate, ...]
    evaluations: int
    seconds: float


def search(
    space: Space,
    predictor: Predictor,
    table: Table | None,
    *,
    budget_ms: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    seed: int = 0,
    resolutions: Sequence[int] | None = None,
    effort: str = "normal",
    deviations: float = 0.0,
    candidates: int = 1,
    num_classes: int = 1000,
) -> SearchResult:
    """The most accurate sub-network within a budget. Give exactly one of budget_ms, macs and params.

    table: may be None for a budget of MACs or parameters.
    resolutions: the input resolutions to choose from. Default: those of the space.
    effort: "normal" takes about half a second with the official predictor, "high" a few seconds.
    deviations: k. The objective is the predicted top-1 minus k standard deviations (half the width of a 68 % interval).
    candidates: number of distinct networks in `SearchResult.candidates`; fewer if the budget allows fewer.

    Equal arguments give equal results. Raises InputError at once if no network meets the budget; the message gives the
    reachable range. Raises KeyError if the table lacks a layer.
    """
    started = time.perf_counter()
    budget = Budget.one_of(latency_ms=budget_ms, macs=macs, params=params)
    cost = budget.cost(space, table, resolutions or space.resolutions, num_classes)
    problem = budget.problem(space, Objective(space, predictor, deviations), cost)
    best = improve(problem, predictor, np.random.default_rng(seed), settings_of(effort), deviations)
    return result(problem, best, predictor, table, candidates, time.perf_counter() - started)


def random_search(
    space: Space,
    predictor: Predictor,
    table: Table | None,
    *,
    evaluations: int,
    budget_ms: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    seed: int = 0,
    resolutions: Sequence[int] | None = None,
    deviations: float = 0.0,
    num_classes: int = 1000,
) -> SearchResult:
    """The best of `evaluations` random sub-networks within the budget. Other arguments as in `search`."""
    started = time.perf_counter()
    budget = Budget.one_of(latency_ms=budget_ms, macs=macs, params=params)
    cost = budget.cost(space, table, resolutions or space.resolutions, num_classes)
    problem = budget.problem(space, Objective(space, predictor, deviations), cost)
    members = random_members(problem, evaluations, np.random.default_rng(seed))
    return result(problem, members, predictor, table, 1, time.perf_counter() - started)


def settings_of(effort: str) -> Settings:
    """The settings of an effort. Raises InputError if it is unknown."""
    if effort not in EFFORTS:
        raise InputError(f"effort: {effort!r} is not one of {', '.join(EFFORTS)}")
    return EFFORTS[effort]


def improve(
    problem: Problem,
    predictor: Any,
    rng: np.random.Generator,
    settings: Settings,
    deviations: float = 0.0,
    known: Members | None = None,
) -> Members:
    """The members that the evolution finds, best first. known: members of other searches."""
    if deviations == 0 and hasattr(predictor, "slopes"):  # its slopes describe the mean only
        problem.slopes, problem.slope_price = predictor.slopes, 2
    else:
        problem.slopes, problem.slope_price = linear_slopes(problem, rng), 0
    return evolve(problem, settings, rng, known)


def result(
    problem: Problem, members: Members, predictor: Predictor, table: Table | None, candidates: int, seconds: float
) -> SearchResult:
    """The best of the members, and the `candidates` best ones, as a `SearchResult`."""
    spread = problem.select(members, candidates, PER_STRATUM)
    if len(spread.value) < candidates:
        spread = problem.select(members, candidates, candidates)
    codes, resolutions = problem.codes(spread.options, spread.stratum), problem.resolution[spread.stratum]
    costs, latencies = problem.cost_of(spread.options, spread.stratum), None
    if problem.cost.quantity == "latency_ms":
        latencies = costs
    elif table is not None:
        latencies = AdditiveCost.latency(problem.space, table, resolutions.tolist()).of_codes(codes, resolutions)
    accuracies, archs = predictor.predict_codes(codes, resolutions), problem.space.decode(codes, resolutions)
    found = [
        Candidate(
            arch=arch,
            accuracy=float(accuracies[i]),
            latency_ms=None if latencies is None else float(latencies[i]),
            cost=float(costs[i]),
            objective=float(spread.value[i]),
        )
        for i, arch in enumerate(archs)
    ]
    return SearchResult(**vars(found[0]), candidates=tuple(found), evaluations=problem.evaluations, seconds=seconds)
