"""Fitting a predictor and testing it on held-out architectures."""

from typing import Any

import numpy as np
import pandas as pd

from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.predictor.quality import prediction_quality
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space


def fit_and_check(
    space: Space, archs: list[Arch], top1: np.ndarray, params: FitPredictorParams, seed: int
) -> tuple[AccuracyPredictor, dict[str, Any], pd.DataFrame]:
    """A predictor fitted to all architectures, the quality, and a table (predicted, measured) of held-out architectures.

    top1: (n,) in 0..1. The quality and the table come from a predictor that was not fitted to the held-out architectures.
    """
    held, rest = _split(np.arange(len(archs)), params, seed)
    trial = AccuracyPredictor.fit(space, _pick(archs, rest), top1[rest], seed)
    quality, points = _check(trial, _pick(archs, held), top1[held], params.coverage)
    return AccuracyPredictor.fit(space, archs, top1, seed), quality | {"fitted": len(rest), "held_out": len(held)}, points


def fit_quantized_and_check(
    space: Space, archs: list[Arch], top1: np.ndarray, int8_top1: np.ndarray, params: FitPredictorParams, seed: int
) -> tuple[AccuracyPredictor, dict[str, Any], pd.DataFrame]:
    """As `fit_and_check`, for a predictor of int8 accuracy that is transferred from the float predictor.

    top1: (n,) in 0..1, measured in float. int8_top1: (n,) in 0..1, NaN where it was not measured.
    `float_predictor` in the quality shows how well the float predictor alone predicts int8 accuracy. Neither it nor the
    transferred predictor was fitted to the held-out architectures.
    Raises ValueError if fewer than 10 int8 measurements are left after holding out.
    """
    measured = np.flatnonzero(~np.isnan(int8_top1))
    held, rest = _split(measured, params, seed)
    others = np.setdiff1d(np.arange(len(archs)), held)
    base = AccuracyPredictor.fit(space, _pick(archs, others), top1[others], seed)
    trial = AccuracyPredictor.fit(space, _pick(archs, rest), int8_top1[rest], seed, base)
    quality, points = _check(trial, _pick(archs, held), int8_top1[held], params.coverage)
    quality["float_predictor"] = prediction_quality(base.predict(_pick(archs, held)), int8_top1[held])
    whole = AccuracyPredictor.fit(space, archs, top1, seed)
    predictor = AccuracyPredictor.fit(space, _pick(archs, measured), int8_top1[measured], seed, whole)
    return predictor, quality | {"fitted": len(rest), "held_out": len(held)}, points


def _split(rows: np.ndarray, params: FitPredictorParams, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers, split into (held out, rest)."""
    order = rows[np.random.default_rng([seed, 3]).permutation(len(rows))]
    count = max(2, round(params.held_out * len(rows)))
    return order[:count], order[count:]


def _check(
    predictor: AccuracyPredictor, archs: list[Arch], top1: np.ndarray, coverage: float
) -> tuple[dict[str, Any], pd.DataFrame]:
    predicted = predictor.predict(archs)
    low, high = predictor.interval(archs, coverage)
    inside = {"interval_coverage": float(((low <= top1) & (top1 <= high)).mean())}
    points = pd.DataFrame({"predicted": predicted, "measured": top1}).sort_values("predicted")
    return prediction_quality(predicted, top1) | inside, points


def _pick(archs: list[Arch], rows: np.ndarray) -> list[Arch]:
    return [archs[i] for i in rows]
