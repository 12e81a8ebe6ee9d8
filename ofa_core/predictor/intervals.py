"""Prediction intervals with the promised coverage, for strong and weak networks alike.

The method is split conformal prediction with normalised residuals (Lei et al., 2018, https://arxiv.org/abs/1604.04173, section
5.2). It uses the leave-one-out residuals of a Gaussian process instead of a split. The process assumes equal noise everywhere,
but weak networks are harder to predict than strong ones. Residuals are therefore divided by a scale that also depends on the
predicted value. On measured ImageNet networks this makes intervals narrower overall and keeps coverage at every accuracy level.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ofa_core.run.errors import InputError

RIDGE = 5.0
"""Weight, in observations, of the prior that pulls the scale to the process's deviation. It matters for small data."""
REACH = 2.5
"""Range of the scale's features, in standard deviations from the mean. The scale is constant beyond it."""


@dataclass(frozen=True)
class Calibration:
    """Maps a prediction and its deviation to the half width of an interval.

    coefficients (3,): of a constant, the prediction and the logarithm of the deviation. centre, spread (2,): standardise the
    last two. scores (n,): absolute residuals divided by their scale, ascending.
    """

    coefficients: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    scores: np.ndarray

    @classmethod
    def fit(cls, mean: np.ndarray, deviation: np.ndarray, residual: np.ndarray, parameters: int = 0) -> "Calibration":
        """Fits to leave-one-out predictions, their deviations and residuals, each (n,). The scale maximises the likelihood.

        parameters: number of the predictor's parameters that were fitted to the same observations. These, and the three of the
        scale, make the residuals too small. The usual correction for degrees of freedom makes up for it.
        """
        raw = np.stack([mean, np.log(deviation)])
        unscaled = cls(np.zeros(3), raw.mean(1), np.maximum(raw.std(1), 1e-9), np.zeros(0))
        features, standard = unscaled._features(mean, deviation), residual / deviation  # (n, 3), (n,)

        def negative_log_likelihood(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
            log_scale = features @ coefficients
            squares = standard**2 * np.exp(-2 * log_scale)
            value = (log_scale + squares / 2).sum() + RIDGE / 2 * (coefficients**2).sum()
            return value, features.T @ (1 - squares) + RIDGE * coefficients

        found = minimize(negative_log_likelihood, np.zeros(3), jac=True, method="L-BFGS-B", bounds=[(-2, 2)] * 3).x
        scaled = cls(found, unscaled.centre, unscaled.spread, np.zeros(0))
        free = max(len(residual) - parameters - len(found), len(residual) // 2)
        scores = np.abs(residual) / scaled.scale(mean, deviation) * np.sqrt(len(residual) / free)
        return cls(found, scaled.centre, scaled.spread, np.sort(scores))

    def scale(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """The typical size (n,) of errors, for predictions (n,) with deviations (n,)."""
        return deviation * np.exp(self._features(mean, deviation) @ self.coefficients)

    def half_width(self, mean: np.ndarray, deviation: np.ndarray, coverage: float) -> np.ndarray:
        """Half widths (n,) of intervals that contain a new measurement with probability `coverage`.

        Raises InputError for a coverage outside 0..1.
        """
        if not 0 < coverage < 1:
            raise InputError(f"coverage: {coverage} is not between 0 and 1")
        count = len(self.scores)
        rank = min(int(np.ceil((count + 1) * coverage)), count) - 1
        return self.scores[rank] * self.scale(mean, deviation)

    def _features(self, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:  # (n, 3)
        values = (np.stack([mean, np.log(deviation)], axis=1) - self.centre) / self.spread
        return np.concatenate([np.ones((len(mean), 1)), np.clip(values, -REACH, REACH)], axis=1)
