"""`search`: the best sub-network within a budget, by one of the engines; and random search, what each must beat."""

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
"""Random sub-networks that slopes are fitted to, where the predictor has none."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The best architecture found.

    accuracy: predicted top-1 (0..1). latency_ms: predicted, None without a table. cost: what the budget limits, in its unit.
    objective: what was maximised. evaluations: of the predictor; slopes count as two. seconds: wall time.
    proven: no sub-network within the budget is better by this predictor.
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
    """The most accurate sub-network within a budget: exactly one of budget_ms, macs and params.

    table: may be None for a budget of MACs or parameters.
    resolutions: the input resolutions to choose from; the space's own by default.
    engine: "evolution", for any predictor; "exact", the proven optimum for a predictor that is additive over stages, and for
      another that of an additive fit to it; "published", Once-for-All's own evolution.
    effort: "normal", about half a second with the official predictor, or "high", some seconds. For "evolution" only.
    deviations: k; maximised is the predicted top-1 minus k times its uncertainty (half the width of a 68 % interval).
    population, generations: instead of those of the effort; for "published" 100 and 500 by default.

    Equal arguments give equal results. Raises ValueError, at once, when nothing meets the budget (it says what is reachable),
    and KeyError when the table lacks a layer.
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
    """The best of random sub-networks within the budget; arguments as of `search`."""
    started = time.perf_counter()
    budget = Budget.one_of(latency_ms=budget_ms, macs=macs, params=params)
    cost = budget.cost(space, table, resolutions or space.resolutions, num_classes)
    problem = budget.problem(space, Objective(space, predictor, deviations), cost)
    members = random_members(problem, evaluations, np.random.default_rng(seed))
    return result(problem, problem.select(members, 1, 1), predictor, table, time.perf_counter() - started)


def settings_of(engine: str, effort: str, population: int | None = None, generations: int | None = None) -> Settings:
    """How much an engine tries. Raises ValueError for an unknown engine or effort."""
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
    """The best members that the engine finds, best first, and whether the first is proven. known: of other searches."""
    own = predictor if deviations == 0 else None  # slopes and stage values are those of the mean
    if engine == "exact":
        return search_exactly(problem, own, rng)
    if engine == "published":
        return published_evolution(problem, settings.population, settings.generations, rng), False
    use_slopes(problem, own, rng)
    return evolve(problem, settings, rng, known), False


def use_slopes(problem: Problem, predictor: Any, rng: np.random.Generator) -> None:
    """Gives the problem the predictor's own slopes, or those of an additive fit to its objective."""
    if hasattr(predictor, "slopes"):
        problem.slopes, problem.slope_price = predictor.slopes, 2
    else:
        problem.slopes, problem.slope_price = fit_additive(problem, SLOPE_SAMPLES, rng, pairs=False).slopes, 0


def result(
    problem: Problem, best: Members, predictor: Predictor, table: Table | None, seconds: float, proven: bool = False
) -> SearchResult:
    """The first of `best` as a result."""
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
