"""Search targets: named latency budgets, in milliseconds or as a place between a table's fastest and slowest network."""

from dataclasses import asdict
from typing import Any

from ofa_core.latency.table import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.search.budget import latency_range
from ofa_core.search.evolution import random_search, search
from ofa_core.search.params import SearchParams, TargetParams
from ofa_core.space import Space


def search_target(
    name: str,
    target: TargetParams,
    params: SearchParams,
    space: Space,
    predictor: AccuracyPredictor,
    table: LatencyTable,
    seed: int,
) -> dict[str, Any]:
    """The best sub-network for a target as JSON-ready values, beside what random search finds with as many evaluations.

    Raises ValueError, naming the target, when no sub-network meets it.
    """
    budget = target.latency_ms
    if budget is None:
        fastest, slowest = latency_range(space, lambda codes, r: table.predict_codes(space, codes, r), space.resolutions)
        assert target.fraction is not None  # checked by the section
        budget = fastest + target.fraction * (slowest - fastest)
    try:
        found = search(
            space, predictor, table, budget_ms=budget, seed=seed, population=params.population, generations=params.generations
        )
        chance = random_search(space, predictor, table, budget_ms=budget, evaluations=found.evaluations, seed=seed)
    except ValueError as error:
        raise ValueError(f"search.targets.{name}: {error}") from None
    [low], [high] = predictor.interval([found.arch])
    return {
        "target": name,
        "requested": {key: value for key, value in asdict(target).items() if value is not None},
        "budget_ms": budget,
        "arch": found.arch.to_dict(),
        "predicted_latency_ms": found.latency_ms,
        "predicted_top1": found.accuracy,
        "predicted_top1_low": float(low),
        "predicted_top1_high": float(high),
        "random_search_top1": chance.accuracy,
        "evaluations": found.evaluations,
    }
