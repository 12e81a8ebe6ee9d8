"""`search`: the best sub-network within a budget, by one of the engines. Random search is the baseline to beat."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from ofa_core.search.additive_cost import AdditiveCost, Table
from ofa_core.search.budget import Budget, Objective, Predictor
from ofa_core.search.choices import Engine
from ofa_core.search.evolution import EFFORTS, PUBLISHED, Settings, evolve
from ofa_core.search.exact import fit_additive, search_exactly
from ofa_core.search.problem import Members, Problem
from ofa_core.search.published import published_evolution, random_members
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space

ENGINES = get_args(Engine)
SLOPE_SAMPLES = 600
"""Number of random sub-networks to fit slopes to, if the predictor has no slopes."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The best architecture found.

    accuracy: predicted top-1 (0..1). latency_ms: predicted, None without a table. cost: the limited quantity, in its unit.
    objective: the maximised value. evaluations: calls of the predictor; slopes count as two. seconds: wall time.
    proven: this predictor rates no sub-network within the budget higher.
    """

    arch: Arch
    accuracy: float
    latency_ms: float | None
    cost: float
    objective: float
    evaluations: int
    seconds: float
    proven: bool = False


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
    engine: str = "evolution",
    effort: str = "normal",
    deviations: float = 0.0,
    population: int | None = None,
    generations: int | None = None,
    num_classes: int = 1000,
) -> SearchResult:
    """The most accurate sub-network within a budget. Give exactly one of budget_ms, macs and params.

    table: may be None for a budget of MACs or parameters.
    resolutions: the input resolutions to choose from. Default: those of the space.
    engine: "evolution" works with any predictor. "exact" gives the proven optimum of a predictor that is additive over stages;
      for other predictors, that of an additive fit. "published" is the evolution of the Once-for-All code.
    effort: "normal" takes about half a second with the official predictor, "high" a few seconds. For "evolution" only.
    deviations: k. The objective is the predicted top-1 minus k standard deviations (half the width of a 68 % interval).
    population, generations: override those of the effort. For "published" the defaults are 100 and 500.

    Equal arguments give equal results. Raises ValueError at once if no network meets the budget; the message gives the
    reachable range. Raises KeyError if the table lacks a layer.
    """
    started = time.perf_counter()
    budget = Budget.one_of(latency_ms=budget_ms, macs=macs, params=params)
    cost = budget.cost(space, table, resolutions or space.resolutions, num_classes)
    problem = budget.problem(space, Objective(space, predictor, deviations), cost)
    settings = settings_of(engine, effort, population, generations)
    best, proven = improve(problem, predictor, np.random.default_rng(seed), engine, settings, deviations)
    return result(problem, best, predictor, table, time.perf_counter() - started, proven)


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
    return result(problem, problem.select(members, 1, 1), predictor, table, time.perf_counter() - started)


def settings_of(engine: str, effort: str, population: int | None = None, generations: int | None = None) -> Settings:
    """The settings of an engine and effort. Raises ValueError if either is unknown."""
    if engine not in ENGINES:
        raise ValueError(f"engine: {engine!r} is not one of {', '.join(ENGINES)}")
    if effort not in EFFORTS:
        raise ValueError(f"effort: {effort!r} is not one of {', '.join(EFFORTS)}")
    settings = PUBLISHED if engine == "published" else EFFORTS[effort]
    if population is not None:
        settings = replace(settings, population=population, children=population)
    return settings if generations is None else replace(settings, generations=generations)


def improve(
    problem: Problem,
    predictor: Any,
    rng: np.random.Generator,
    engine: str,
    settings: Settings,
    deviations: float = 0.0,
    known: Members | None = None,
) -> tuple[Members, bool]:
    """The members that the engine finds, best first, and whether the first is proven. known: members of other searches."""
    own = predictor if deviations == 0 else None  # slopes and stage values describe the mean only
    if engine == "exact":
        return search_exactly(problem, own, rng)
    if engine == "published":
        return published_evolution(problem, settings.population, settings.generations, rng), False
    use_slopes(problem, own, rng)
    return evolve(problem, settings, rng, known), False


def use_slopes(problem: Problem, predictor: Any, rng: np.random.Generator) -> None:
    """Sets the problem's slopes: the predictor's, or else those of an additive fit to the objective."""
    if hasattr(predictor, "slopes"):
        problem.slopes, problem.slope_price = predictor.slopes, 2
    else:
        problem.slopes, problem.slope_price = fit_additive(problem, SLOPE_SAMPLES, rng, pairs=False).slopes, 0


def result(
    problem: Problem, best: Members, predictor: Predictor, table: Table | None, seconds: float, proven: bool = False
) -> SearchResult:
    """The first member of `best` as a `SearchResult`."""
    first = best.take(slice(0, 1))
    codes, resolutions = problem.codes(first.options, first.stratum), problem.resolution[first.stratum]
    cost = float(problem.cost_of(first.options, first.stratum)[0])
    latency = None
    if problem.cost.quantity == "latency_ms":
        latency = cost
    elif table is not None:
        latency = float(AdditiveCost.latency(problem.space, table, resolutions.tolist()).of_codes(codes, resolutions)[0])
    return SearchResult(
        arch=problem.space.decode(codes, resolutions)[0],
        accuracy=float(predictor.predict_codes(codes, resolutions)[0]),
        latency_ms=latency,
        cost=cost,
        objective=float(first.value[0]),
        evaluations=problem.evaluations,
        seconds=seconds,
        proven=proven,
    )
