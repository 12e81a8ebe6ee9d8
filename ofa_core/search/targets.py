"""Search targets: named latency budgets, in milliseconds or as a fraction from the fastest to the slowest network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import pandas as pd

from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.run.errors import InputError
from ofa_core.search.additive_cost import AdditiveCost, Table
from ofa_core.search.budget import cost_range
from ofa_core.search.fleet import Comparison, Fleet, Target
from ofa_core.search.params import SearchParams
from ofa_core.space.base import Space


class TableOfDevice(Table, Protocol):
    """A latency table that says where it was measured."""

    @property
    def device(self) -> dict[str, Any]:
        """The record of the device."""


DEVIATIONS = {"top1": 0.0, "int8_top1": 0.0, "lower_bound": 1.0}


def search_targets(
    params: SearchParams,
    space: Space,
    predictor: AccuracyPredictor | OfficialPredictor,
    tables: Mapping[str, TableOfDevice],
    seed: int,
    progress: Callable[[Sequence[Any]], Any] = list,
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """The best sub-network for each target as JSON-ready values, and the Pareto front of all evaluations for each device.

    One fleet searches for all targets and shares its evaluations.
    tables: one per device that a target names. progress: wraps iterables, as tqdm does.
    Raises InputError, naming the target, if no sub-network meets it.
    """
    devices = params.devices
    costs = {device: _cost(space, device, tables[device]) for device in sorted(set(devices.values()))}
    ranges = {device: cost_range(space, cost) for device, cost in costs.items()}
    limits = {}
    for name, target in params.targets.items():
        lowest, highest = ranges[devices[name]]
        limits[name] = lowest * (highest / lowest) ** target.fraction if target.fraction is not None else target.latency_ms
    # The latency of the fastest network is a sum; its last digit depends on the order of the terms.
    budgets = {name: Target(device=devices[name], limit=float(limit or 0) * (1 + 1e-12)) for name, limit in limits.items()}
    fleet = Fleet(space, predictor, costs, seed, DEVIATIONS[params.objective])
    try:
        found = fleet.search(budgets, params.effort, params.candidates, progress)
    except InputError as error:
        raise InputError(f"search.targets.{error}") from None
    results = {}
    for name, compared in found.items():
        requested = {key: value for key, value in asdict(params.targets[name]).items() if value is not None}
        head = {"target": name, "device": devices[name], "requested": requested, "budget_ms": limits[name]}
        head |= {"objective": params.objective, "measured_on": tables[devices[name]].device}
        results[name] = head | describe(compared) | _interval(predictor, compared)
    return results, fleet.front(progress=progress)


def _cost(space: Space, device: str, table: Table) -> AdditiveCost:
    try:
        return AdditiveCost.latency(space, table, space.resolutions)
    except KeyError as error:
        raise InputError(f"build_latency_table.devices.{device}: {error.args[0]}") from None


def describe(compared: Comparison) -> dict[str, Any]:
    """A result, what random search finds, and the candidates (best first, with the result), as JSON-ready values."""
    found = compared.found
    return {
        "arch": found.arch.to_dict(),
        "predicted_latency_ms": found.latency_ms,
        "predicted_top1": found.accuracy,
        "random_search_top1": compared.random,
        "evaluations": found.evaluations,
        "candidates": [
            {"arch": one.arch.to_dict(), "predicted_top1": one.accuracy, "predicted_latency_ms": one.latency_ms}
            for one in found.candidates
        ],
    }


def _interval(predictor: AccuracyPredictor | OfficialPredictor, compared: Comparison) -> dict[str, float]:
    if isinstance(predictor, OfficialPredictor):  # has no uncertainty estimate
        return {}
    [low], [high] = predictor.interval([compared.found.arch])
    return {"predicted_top1_low": float(low), "predicted_top1_high": float(high)}
