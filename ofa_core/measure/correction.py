"""Corrects a latency table with whole networks, for the device of the table or for another device.

Layers measured alone do not show their effects on each other: cache contents, memory traffic, work of the runtime. A few
numbers correct this: an overhead, and one factor per group of layers (`latency.table.layer_group`). Ridge regression towards
one common factor fits them to measured latencies of whole networks, so a few noisy networks cannot distort the table.
Leave-one-out errors set the strength. The same method transfers a table to another device.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import kendalltau

from ofa_core.latency.table import LatencyTable, layer_group
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space

NOISE = 0.02
"""Relative error of a network's latency that the fit expects after a perfect correction."""
SPREADS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Relative spreads of the group factors around the common factor; the fit tries each."""
OVERHEAD_TIMES = (1, 5, 25)
"""Spreads of the overhead; the fit tries each. Multiples of the overhead itself or of 2 % of the fastest network."""


def correct(
    table: LatencyTable, space: Space, archs: Sequence[Arch], measured_ms: np.ndarray
) -> tuple[LatencyTable, dict[str, Any]]:
    """The table corrected with every second network, and a report of its errors on the others.

    measured_ms: (n,) for at least 4 networks. The report has the values of `prediction_errors` after the correction, and those
    before it under before_correction.
    """
    predicted = table.predict_many(space, archs)
    fit, check = slice(0, None, 2), slice(1, None, 2)
    corrected = fit_correction(table, space, archs[fit], measured_ms[fit])
    after = corrected.predict_many(space, archs)
    report = {
        **prediction_errors(after[check], measured_ms[check]),
        "before_correction": prediction_errors(predicted[check], measured_ms[check]),
        "networks": len(archs),
        "networks_checked": len(archs[check]),
        "scale": corrected.scale,
        "overhead_ms": corrected.overhead_ms,
        "factors": corrected.factors,
        "predicted_ms": [round(float(x), 6) for x in after[check]],
        "measured_ms": [round(float(x), 6) for x in measured_ms[check]],
    }
    return corrected, report


def adapt(
    table: LatencyTable, space: Space, archs: Sequence[Arch], measured_ms: np.ndarray, device: dict[str, Any]
) -> tuple[LatencyTable, dict[str, Any]]:
    """A table for another device, from a few networks measured there (about 20), and a report of how well it predicts.

    table: of any device; may be a published table. measured_ms: (n,) on the new device. device: record of the new device.
    The report has the leave-one-out errors: each network is predicted by a table that was adapted with the others. For
    comparison it has the errors of the old table times one factor. Raises InputError for fewer than 4 networks.
    """
    if len(archs) < 4 or len(archs) != len(measured_ms):
        raise InputError(f"{len(archs)} networks and {len(measured_ms)} latencies; at least 4 of each are needed")
    old, left_out, scaled = table.predict_many(space, archs), np.empty(len(archs)), np.empty(len(archs))
    for i, arch in enumerate(archs):
        rest = np.arange(len(archs)) != i
        others = [other for other, keep in zip(archs, rest, strict=True) if keep]
        left_out[i] = fit_correction(table, space, others, measured_ms[rest]).predict(space, arch)
        scaled[i] = old[i] * np.median(measured_ms[rest] / old[rest])
    report = {
        "networks": len(archs),
        "leave_one_out": prediction_errors(left_out, measured_ms),
        "one_factor": prediction_errors(scaled, measured_ms),
    }
    return replace(fit_correction(table, space, archs, measured_ms), device=device), report


def fit_correction(table: LatencyTable, space: Space, archs: Sequence[Arch], measured_ms: np.ndarray) -> LatencyTable:
    """A copy of the table with scale, factors and overhead fitted to measured latencies (n,).

    Factors and overhead are at least zero. Raises KeyError for a network with a layer that the table lacks.
    """
    groups, sums = _group_sums(table, space, archs)
    common = float(np.median(measured_ms / (sums.sum(1) + table.overhead_ms)))
    prior = np.append(np.full(len(groups), common), table.overhead_ms)
    # All columns are shares of the measured latency, so the fit minimises relative errors.
    shares = np.column_stack([sums, np.ones(len(archs))]) / measured_ms[:, None]
    loose = max(table.overhead_ms, 0.02 * float(measured_ms.min()))
    candidates = [
        np.append(np.full(len(groups), spread * common), times * loose) / NOISE
        for spread, times in product(SPREADS, OVERHEAD_TIMES)
    ]
    errors = [_leave_one_out(shares, prior, spread) for spread in candidates]
    chosen = _ridge(shares, prior, candidates[int(np.argmin(errors))])
    scale = float(np.average(chosen[:-1], weights=sums.sum(0))) or 1.0
    factors = {group: round(float(value / scale), 6) for group, value in zip(groups, chosen[:-1], strict=True)}
    return replace(table, scale=round(scale, 6), overhead_ms=round(float(chosen[-1]), 6), factors=factors)


def prediction_errors(predicted_ms: np.ndarray, measured_ms: np.ndarray) -> dict[str, float]:
    """Errors of predicted latencies (n,).

    mape: mean absolute percentage error, as a share. within_10_percent, within_5_percent: shares of networks. kendall_tau:
    rank correlation.
    """
    error = np.abs(predicted_ms - measured_ms) / measured_ms
    tau = np.nan_to_num(kendalltau(predicted_ms, measured_ms).statistic)  # undefined if all predictions are equal: 0
    return {
        "mape": round(float(error.mean()), 6),
        "within_10_percent": round(float((error <= 0.1).mean()), 6),
        "within_5_percent": round(float((error <= 0.05).mean()), 6),
        "kendall_tau": round(float(tau), 6),
    }


def _group_sums(table: LatencyTable, space: Space, archs: Sequence[Arch]) -> tuple[list[str], np.ndarray]:
    """Group names, and uncorrected milliseconds (n, groups) of each network's layers in each group."""
    plain = replace(table, factors={})
    rows: list[dict[str, float]] = []
    for arch in archs:
        rows.append({})
        for layer in space.layers(arch, table.num_classes):
            group = layer_group(layer)
            rows[-1][group] = rows[-1].get(group, 0.0) + plain.layer_ms(layer, arch.r)
    groups = sorted({group for row in rows for group in row})
    return groups, np.array([[row.get(group, 0.0) for group in groups] for row in rows])


def _ridge(shares: np.ndarray, prior: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Coefficients (k,) >= 0, close to the prior and with shares (n, k) @ coefficients close to 1, in units of NOISE."""
    return nnls(np.vstack([shares, np.diag(1 / spread)]), np.append(np.ones(len(shares)), prior / spread))[0]


def _leave_one_out(shares: np.ndarray, prior: np.ndarray, spread: np.ndarray) -> float:
    """Mean squared leave-one-out relative error, in closed form and without the bound at zero."""
    gram = np.linalg.inv(shares.T @ shares + np.diag(spread**-2))
    coefficients = gram @ (shares.sum(0) + prior / spread**2)
    leverage = np.einsum("nk,kl,nl->n", shares, gram, shares)
    return float((((1 - shares @ coefficients) / (1 - leverage)) ** 2).mean())
