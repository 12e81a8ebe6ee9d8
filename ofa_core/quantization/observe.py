"""Activation ranges of a trained network, from images, for post-training quantisation."""

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ofa_core.nn.network import Network
from ofa_core.quantization.fake import AVERAGE_DECAY, FakeQuantized
from ofa_core.quantization.grid import LEVELS
from ofa_core.quantization.params import Calibration
from ofa_core.run.errors import InputError
from ofa_core.space.ops import HardSwish

OUTLIERS = 1e-4
"""Share of values that percentile drops on either side; the source's 99.99 %."""
BINS = 2048
"""Histogram bins of percentile and mse, as in TensorRT's and torch's calibrators."""
SHRINKING = np.linspace(1, 0.2, 81)
"""Factors by which mse tries to shrink a bound."""


def fake_quantized(
    network: Network, batches: Sequence[Tensor], method: Calibration = "minmax", hard_swish: HardSwish = "composed"
) -> FakeQuantized:
    """A network after post-training quantisation, for evaluation in torch, in eval mode. Arguments as in `observe`."""
    return FakeQuantized(network, observe(network, batches, method, hard_swish), hard_swish=hard_swish).eval()


@torch.no_grad()
def observe(
    network: Network, batches: Sequence[Tensor], method: Calibration = "minmax", hard_swish: HardSwish = "composed"
) -> dict[str, tuple[float, float]]:
    """(low, high) of every activation of a stand-alone network, by point, on calibration images.

    batches: (B, 3, r, r); percentile and mse read them twice. hard_swish: the form to calibrate for.
    The network is left in eval mode. Raises InputError without images, or where an activation is not finite.
    """
    if not len(batches):
        raise InputError("calibration images: none")
    net = FakeQuantized(network, hard_swish=hard_swish)
    net.weights = False
    if method not in get_args(Calibration):
        raise InputError(f"calibration: {method!r} is not one of {', '.join(get_args(Calibration))}")
    found = _extremes(net, batches, moving=method == "moving_average")
    for name, bounds in found.items():
        if not np.isfinite(bounds).all():
            raise InputError(f"{name}: an activation is not finite on the calibration images")
    if method in ("percentile", "mse"):
        range_of = _percentile if method == "percentile" else _least_error
        found = {name: range_of(counts, edges) for name, (counts, edges) in _histograms(net, batches, found).items()}
    return net.fixed_ranges | found


def _run(net: FakeQuantized, batches: Sequence[Tensor], visitor: Callable[[str, Tensor], None]) -> None:
    """Shows the visitor every activation of every batch."""
    net.eval().visitor = visitor
    for x in batches:
        net(x.to(net.low.device))
    net.visitor = None


def _extremes(net: FakeQuantized, batches: Sequence[Tensor], moving: bool) -> dict[str, tuple[float, float]]:
    """Smallest and largest values over all batches, or moving averages of each batch's."""
    found: dict[str, tuple[float, float]] = {}
    seen: dict[str, int] = {}

    def visit(name: str, x: Tensor) -> None:
        low, high = (bound.item() for bound in x.aminmax())
        seen[name] = seen.get(name, 0) + 1
        before_low, before_high = found.get(name, (low, high))
        if moving:
            # The plain mean at first, so that the first batch weighs no more than the others.
            share = max(1 / seen[name], 1 - AVERAGE_DECAY)
            found[name] = before_low + share * (low - before_low), before_high + share * (high - before_high)
        else:
            found[name] = min(before_low, low), max(before_high, high)

    _run(net, batches, visit)
    return found


def _histograms(
    net: FakeQuantized, batches: Sequence[Tensor], extremes: dict[str, tuple[float, float]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per activation: counts (BINS,) float64 and edges (BINS + 1,)."""
    counts = {name: np.zeros(BINS) for name in extremes}

    def visit(name: str, x: Tensor) -> None:
        low, high = extremes[name]
        if low < high:
            counts[name] += torch.histc(x.float(), BINS, low, high).cpu().double().numpy()

    _run(net, batches, visit)
    return {name: (counts[name], np.linspace(*extremes[name], BINS + 1)) for name in extremes}


def _percentile(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    share = np.cumsum(counts) / max(counts.sum(), 1)  # (BINS,)
    low, high = np.searchsorted(share, (OUTLIERS, 1 - OUTLIERS))
    return float(edges[low]), float(edges[min(high, BINS - 1) + 1])


def _least_error(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """Shrinks each bound in turn, twice, to where the error is smallest."""
    values, bounds = (edges[:-1] + edges[1:]) / 2, [float(edges[0]), float(edges[-1])]
    for side in (1, 0, 1, 0):
        tried = np.array([bounds] * len(SHRINKING))  # (81, 2)
        tried[:, side] *= SHRINKING
        bounds = tried[_errors(values, counts, tried).argmin()].tolist()
    return bounds[0], bounds[1]


def _errors(values: np.ndarray, counts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Squared errors (n,) of values (BINS,), weighted by counts, on the grids of bounds (n, 2)."""
    low, high = bounds[:, :1].clip(max=0), bounds[:, 1:].clip(min=0)
    scale = np.maximum((high - low) / LEVELS, 1e-30)
    zero_point = np.rint(-128 - low / scale)
    rounded = (np.clip(np.rint(values / scale) + zero_point, -128, 127) - zero_point) * scale  # (n, BINS)
    return (np.square(rounded - values) * counts).sum(1)
