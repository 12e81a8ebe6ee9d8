"""Quality of predictions on architectures that were not used for fitting."""

import numpy as np
from scipy.stats import kendalltau


def prediction_quality(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """RMSE in percentage points, Kendall's tau, and the share of pairs in the right order. Inputs: values in 0..1 (n,)."""
    upper = np.triu_indices(len(measured), 1)
    predicted_sign, measured_sign = (np.sign(v[upper[0]] - v[upper[1]]) for v in (predicted, measured))
    distinct = measured_sign != 0
    return {
        "rmse_points": float(100 * np.sqrt(((predicted - measured) ** 2).mean())),
        "kendall_tau": float(kendalltau(predicted, measured).statistic),
        "pairwise_accuracy": float((predicted_sign == measured_sign)[distinct].mean()),
    }
