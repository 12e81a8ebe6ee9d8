"""Search targets: named latency budgets, in milliseconds or as a place between a table's fastest and slowest network."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from ofa_core.latency.table import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.search.budget import cost_range
from ofa_core.search.costs import AdditiveCost
from ofa_core.search.fleet import Comparison, Fleet, Target
from ofa_core.search.params import SearchParams
from ofa_core.space import Space

DEVIATIONS = {"top1": 0.0, "lower_bound": 1.0}


def search_targets(
    params: SearchParams,
    space: Space,
    predictor: AccuracyPredictor | OfficialPredictor,
    table: LatencyTable,
    seed: int,
    progress: Callable[[Sequence[Any]], Any] = list,
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """For every target the best sub-network as JSON-ready values, and the Pareto front of all that was evaluated.

    progress: wraps what is gone through, as tqdm does. Raises ValueError, naming the target, when no sub-network meets it.
    """
    cost = AdditiveCost.latency(space, table, space.resolutions)
    lowest, highest = cost_range(space, cost)
    limits = {
        name: lowest + target.fraction * (highest - lowest) if target.fraction is not None else target.latency_ms
        for name, target in params.targets.items()
    }
    # The fastest network's latency is a sum whose last digit depends on the order.
    budgets = {name: Target(device=params.device, limit=float(limit or 0) * (1 + 1e-12)) for name, limit in limits.items()}
    fleet = Fleet(space, predictor, {params.device: cost}, seed, DEVIATIONS[params.objective])
    try:
        found = fleet.search(budgets, params.engine, params.effort, progress)
    except ValueError as error:
        raise ValueError(f"search.targets.{error}") from None
    results = {}
    for name, compared in found.items():
        requested = {key: value for key, value in asdict(params.targets[name]).items() if value is not None}
        head = {"target": name, "requested": requested, "budget_ms": limits[name], "engine": params.engine}
        results[name] = head | describe(compared) | _interval(predictor, compared)
    return results, fleet.front(progress=progress)


def describe(compared: Comparison) -> dict[str, Any]:
    """A result and what other methods find, as JSON-ready values; fields as of `Comparison`."""
    found = compared.found
    return {
        "arch": found.arch.to_dict(),
        "predicted_latency_ms": found.latency_ms,
        "predicted_top1": found.accuracy,
        "random_search_top1": compared.random,
        "additive_exact_top1": compared.exact,
        "estimated_gap": compared.estimated_gap,
        "proven": found.proven,
        "evaluations": found.evaluations,
    }


def _interval(predictor: AccuracyPredictor | OfficialPredictor, compared: Comparison) -> dict[str, float]:
    if isinstance(predictor, OfficialPredictor):  # tells no uncertainty
        return {}
    [low], [high] = predictor.interval([compared.found.arch])
    return {"predicted_top1_low": float(low), "predicted_top1_high": float(high)}
