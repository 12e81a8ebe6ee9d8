"""The search for detectors: the classifiers' search and choice, with average precision in the place of top-1."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

from ofa_core.choose.choosing import choose, summary, table_of
from ofa_core.detector_search.operator_time import WithOperator
from ofa_core.detector_search.params import SearchDetectorParams
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.fitting import check, fit_predictors
from ofa_core.run.errors import InputError
from ofa_core.search.targets import search_targets
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space

SCORE = "map"
COVERAGE = 0.9
"""Share of measured values that the reported intervals should contain."""


def as_top1(space: Space, archs: Sequence[Arch], scores: Sequence[float]) -> Accuracies:
    """Average precisions as the predictor's code names a score."""
    return Accuracies.of(space, archs, [{"top1": score} for score in scores])


def as_map(values: Any) -> Any:
    """The same results with `map` instead of `top1` in all keys."""
    if isinstance(values, Mapping):
        return {key.replace("top1", SCORE): as_map(value) for key, value in values.items()}
    return [as_map(value) for value in values] if isinstance(values, list) else values


def search(
    params: SearchDetectorParams, known: Accuracies, table: WithOperator, seed: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], pd.DataFrame]:
    """The candidates of each target, the predictor's quality, and its predictions (predicted, measured) of each detector.

    known: as from `as_top1`. Each detector is predicted from all others. Raises InputError, naming the target, if no detector
    meets it.
    """
    predictor = fit_predictors(known, "top1")["top1"]
    quality, points = check(predictor, COVERAGE)
    try:
        found, _ = search_targets(params.search, known.space, predictor, {params.device: table}, seed, tqdm)
    except InputError as error:
        raise InputError(str(error).replace("search.targets.", "search_detector.targets.")) from None
    return found, quality, points


def choose_measured(
    params: SearchDetectorParams,
    found: Mapping[str, Mapping[str, Any]],
    known: Accuracies,
    measured: Accuracies,
    network_ms: Mapping[str, Mapping[Arch, float]],
    operator: Mapping[int, float],
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], pd.DataFrame]:
    """The chosen detector of each target, a report, and a table of all candidates.

    network_ms: measured latencies without the operator, by device; missing where there is no device to ask. operator: its
    milliseconds by resolution.
    """
    whole = {device: {arch: ms + operator[arch.r] for arch, ms in of.items()} for device, of in network_ms.items()}
    chosen = choose(found, known, measured, whole, "top1", params.tolerance)
    for result in chosen.values():
        result["postprocess_ms"] = operator[result["arch"]["r"]]
    table = table_of(chosen).rename(columns=lambda name: name.replace("top1", SCORE))
    return as_map(chosen), as_map(summary(chosen)), table
