"""Builds a latency table: times every distinct layer of a space, then corrects and checks the sums on whole networks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import kendalltau
from tqdm import tqdm

from ofa_core.arch import Arch
from ofa_core.export.params import HardSwish
from ofa_core.latency.table import LatencyTable, Timing
from ofa_core.measure.files import Dtype, distinct_layers, layer_file, network_file, trivial_file
from ofa_core.measure.host import Device
from ofa_core.space import Space


def build_table(
    device: Device,
    space: Space,
    *,
    num_classes: int,
    dtype: Dtype = "uint8",
    resolutions: Sequence[int] | None = None,
    hard_swish: HardSwish = "composed",
    networks: int = 20,
    seed: int = 0,
) -> tuple[LatencyTable, dict[str, Any]]:
    """A latency table of the space on the device, and how well it predicts whole networks.

    resolutions: input sizes in pixels; None is the space's own. networks: random whole networks to time, half of them
    to fit the correction and half to check; at least 4, or 0 for a table without correction.

    A layer's time is that of its one-layer file less what calling the interpreter costs, which a network pays once: that is the
    table's overhead before the correction. The check (see `accuracy`) is given before and after correction.
    Raises ValueError for a resolution that is not a multiple of 4 or too few networks.
    """
    if networks and networks < 4:
        raise ValueError(f"networks: {networks} is not 0, or 4 and more")
    sizes = tuple(resolutions or space.resolutions)
    layers = distinct_layers(space, sizes, num_classes)
    files = {
        layer.key: layer_file(layer, dtype, hard_swish) for layer in tqdm(layers, desc="layer files", unit="file", disable=None)
    }
    timings = device.time({"trivial": trivial_file(dtype)} | files, "timing layers")
    call = timings.pop("trivial").median_ms
    less_call = {key: replace(timing, median_ms=round(max(timing.median_ms - call, 0.0), 6)) for key, timing in timings.items()}
    table = LatencyTable(device.info(), dtype, sizes, num_classes, hard_swish, overhead_ms=call, layers=less_call)
    if not networks:
        return table, {"networks": 0}
    archs = random_archs(space, sizes, networks, seed)
    measured = time_networks(device, space, archs, num_classes, dtype, hard_swish)
    return correct(table, space, archs, np.array([timing.median_ms for timing in measured]))


def random_archs(space: Space, resolutions: Sequence[int], count: int, seed: int) -> list[Arch]:
    """Random architectures whose resolutions go round the given ones."""
    rng = np.random.default_rng(seed)
    return [replace(space.sample(rng), r=resolutions[i // 2 % len(resolutions)]) for i in range(count)]


def time_networks(
    device: Device, space: Space, archs: Sequence[Arch], num_classes: int, dtype: Dtype, hard_swish: HardSwish = "composed"
) -> list[Timing]:
    """The measured latency of whole networks, with random weights."""
    bar = tqdm(archs, desc="network files", unit="file", disable=None)
    files = {str(i): network_file(space, arch, num_classes, dtype, hard_swish) for i, arch in enumerate(bar)}
    timings = device.time(files, "timing networks")
    return [timings[str(i)] for i in range(len(archs))]


def correct(
    table: LatencyTable, space: Space, archs: Sequence[Arch], measured_ms: np.ndarray
) -> tuple[LatencyTable, dict[str, Any]]:
    """The table with scale and overhead fitted to every second network, and its accuracy on the others.

    measured_ms: (n,). The fit minimises the squared relative error; neither number may fall below zero, so that a few noisy
    networks cannot make a table that predicts negative times.
    """
    predicted = table.predict_many(space, archs)
    sums = (predicted - table.overhead_ms) / table.scale
    fit, check = slice(0, None, 2), slice(1, None, 2)
    relative = np.stack([sums[fit], np.ones(len(sums[fit]))], axis=1) / measured_ms[fit, None]
    (scale, overhead), _ = nnls(relative, np.ones(len(relative)))
    corrected = replace(table, scale=round(float(scale), 6), overhead_ms=round(float(overhead), 6))
    after = corrected.predict_many(space, archs)
    report = {
        "networks": len(archs),
        "networks_checked": len(archs[check]),
        "before_correction": accuracy(predicted[check], measured_ms[check]),
        "after_correction": accuracy(after[check], measured_ms[check]),
        "scale": corrected.scale,
        "overhead_ms": corrected.overhead_ms,
        "predicted_ms": [round(float(x), 6) for x in after[check]],
        "measured_ms": [round(float(x), 6) for x in measured_ms[check]],
    }
    return corrected, report


def accuracy(predicted_ms: np.ndarray, measured_ms: np.ndarray) -> dict[str, float]:
    """How well (n,) latencies are predicted.

    mape: mean absolute percentage error, as a share. within_10_percent: share of networks. kendall_tau: agreement of ranks.
    """
    error = np.abs(predicted_ms - measured_ms) / measured_ms
    tau = np.nan_to_num(kendalltau(predicted_ms, measured_ms).statistic)  # not defined among equal predictions: 0
    return {
        "mape": round(float(error.mean()), 6),
        "within_10_percent": round(float((error <= 0.1).mean()), 6),
        "kendall_tau": round(float(tau), 6),
    }
