"""Fitting predictors to measured accuracies, and their errors on architectures that they have not seen."""

from typing import Any

import numpy as np
import pandas as pd

from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.predictor.params import PredictorTarget
from ofa_core.predictor.quality import prediction_quality


def fit_predictors(measured: Accuracies, target: PredictorTarget) -> dict[str, AccuracyPredictor]:
    """The predictor of `top1`, and that of `int8_top1`, transferred from it, if any int8 accuracies were measured.

    target: what the first one learns. Raises InputError for fewer than 10 measurements of one of them.
    """
    top1, int8_top1 = measured.values["top1"], measured.values["int8_top1"]
    learned = measured.values["cross_entropy"] if target == "cross_entropy" else None
    base = AccuracyPredictor.fit(measured.space, measured.archs, top1, cross_entropy=learned)
    rows = np.flatnonzero(~np.isnan(int8_top1))
    if not len(rows):
        return {"top1": base}
    archs = [measured.archs[i] for i in rows]
    return {"top1": base, "int8_top1": AccuracyPredictor.fit(measured.space, archs, int8_top1[rows], base=base)}


def check_published(predictor: OfficialPredictor, measured: Accuracies) -> tuple[dict[str, Any], pd.DataFrame]:
    """As `check`, for a predictor that has not learned from these measurements. It gives no intervals."""
    predicted, top1 = predictor.predict(measured.archs), measured.values["top1"]
    quality = prediction_quality(predicted, top1) | {"architectures": len(top1)}
    return quality, pd.DataFrame({"predicted": predicted, "measured": top1}).sort_values("predicted")


def check(predictor: AccuracyPredictor, coverage: float) -> tuple[dict[str, Any], pd.DataFrame]:
    """The quality of predictions of all measured architectures, each from the others, and a table (predicted, measured).

    interval_points: half the width of the intervals with this coverage, the median in points of 100.
    For a transferred predictor, `base` in the quality shows how well its base alone predicts the same values; neither has seen
    them.
    """
    predicted, half_width = predictor.leave_one_out(coverage)
    quality: dict[str, Any] = prediction_quality(predicted, predictor.top1)
    quality |= {"architectures": len(predicted), "interval_points": float(100 * np.median(half_width))}
    if predictor.base is not None:
        measured = predictor.base.known(predictor.codes, predictor.resolutions)
        quality["base"] = prediction_quality(predictor.base.leave_one_out()[0][measured], predictor.top1)
    return quality, pd.DataFrame({"predicted": predicted, "measured": predictor.top1}).sort_values("predicted")
