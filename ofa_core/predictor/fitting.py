"""Fitting a predictor and measuring it on architectures held out of the fit."""

from typing import Any

import numpy as np
import pandas as pd

from ofa_core.arch import Arch
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.predictor.quality import prediction_quality
from ofa_core.space import Space


def fit_and_check(
    space: Space, archs: list[Arch], top1: np.ndarray, params: FitPredictorParams, seed: int
) -> tuple[AccuracyPredictor, dict[str, Any], pd.DataFrame]:
    """The predictor fitted to all architectures; its quality and a table (predicted, measured) on held-out ones.

    top1: (n,) in 0..1. The quality is that of a predictor fitted to the others.
    """
    order = np.random.default_rng([seed, 3]).permutation(len(archs))
    count = max(2, round(params.held_out * len(archs)))
    held, rest = order[:count], order[count:]
    trial = AccuracyPredictor.fit(space, [archs[i] for i in rest], top1[rest], seed)
    predicted = trial.predict([archs[i] for i in held])
    low, high = trial.interval([archs[i] for i in held], params.coverage)
    quality = prediction_quality(predicted, top1[held])
    quality |= {"interval_coverage": float(((low <= top1[held]) & (top1[held] <= high)).mean())}
    quality |= {"fitted": len(rest), "held_out": len(held)}
    points = pd.DataFrame({"predicted": predicted, "measured": top1[held]}).sort_values("predicted")
    return AccuracyPredictor.fit(space, archs, top1, seed), quality, points
