"""Which layers of an integer file to leave in float: the choice of `export.choose_float`.

APQ (https://arxiv.org/abs/2006.08509) searches a precision for every layer. TFLite's kernels support two, 8 bits and float32,
with a conversion wherever they meet. The choice is greedy: layers are tried in order of error removed per millisecond added.
It respects a limit on latency and stops once the file is accurate enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ofa_core.convert.integer import calibrate, quantize
from ofa_core.convert.network import tf_network
from ofa_core.convert.tflite import convert_float
from ofa_core.export.params import ChooseFloatParams, ExportParams
from ofa_core.export.post_or_aware import Candidate
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import Network
from ofa_core.quantization.fake import FakeQuantized, Ranges, of_form
from ofa_core.runtime.host import time_in_turns
from ofa_core.space.ops import HardSwish
from ofa_core.tasks.trainable import TrainableTask

BATCH = 50
"""Images computed at once."""
CANDIDATES = 6
"""Layers that are timed: those that cause most of the error."""


class Mixed(NamedTuple):
    """keep_float: the chosen layers, in the network's order. agreement: share of images with the float network's answer, for
    the simulated mixture. latency_ms: of its file. rows: the layers in the order tried, and why each was taken or not."""

    keep_float: tuple[str, ...]
    agreement: float
    latency_ms: float
    rows: list[dict[str, Any]]


def choose_keep_float(
    network: Network,
    ranges: Ranges,
    hard_swish: HardSwish,
    images: np.ndarray,
    params: ChooseFloatParams,
    keep_float: Sequence[str] = (),
    timed: Callable[[Mapping[str, bytes]], dict[str, float]] = time_in_turns,
    *,
    task: TrainableTask,
) -> Mixed:
    """Chooses layers for `convert_integer`'s keep_float.

    ranges: of its activations. images: uint8 (n, r, r, 3), to measure errors on. Use neither the calibration images nor val,
    which judges the choice. keep_float: layers that stay float in any case. timed: the milliseconds of files by name.
    """
    ranges, exact_network = of_form(ranges, hard_swish), tf_network(network, hard_swish=hard_swish)
    float_file = convert_float(exact_network)
    batches = [
        to_input(images[i : i + BATCH], network.normalization) for i in range(0, len(images), BATCH)
    ]  # (B, 3, r, r) each
    exact = _outputs(network.eval(), batches)  # (n, ...)
    answers = task.answers(task.finished(exact))

    def noise(*names: str) -> tuple[float, float]:
        """Squared error of the outputs over their variance, and the share of equal answers, with these layers in float."""
        rounded = FakeQuantized(network, ranges, hard_swish=hard_swish, keep_float={*keep_float, *names}).eval()
        coarse = _outputs(rounded, batches)
        error = float((coarse - exact).square().mean() / exact.var())
        return error, task.agreement(task.answers(task.finished(coarse)), answers)

    def file(*names: str) -> bytes:
        return quantize(float_file, exact_network.ops, ranges, keep_float=(*keep_float, *names))

    error, agreement = noise()
    all_error = error
    with_weights = [layer.name for layer in network.active if layer.params and layer.name not in keep_float]
    won = {name: error - noise(name)[0] for name in with_weights}
    candidates = sorted((name for name in won if won[name] > 0), key=lambda name: -won[name])[:CANDIDATES]
    whole, chosen = file(), list[str]()
    found_ms = timed({"": whole} | {name: file(name) for name in candidates})
    base, slowdown, rows = found_ms[""], 1.0, []
    cost = {name: found_ms[name] - base for name in candidates}
    # A layer that is faster in float comes first.
    for name in sorted(candidates, key=lambda name: -won[name] / max(cost[name], 1e-3 * base)):
        row = {"layer": name, "share_of_error": won[name] / all_error, "cost_ms": cost[name]}
        if agreement >= params.min_agreement:
            rows.append(row | {"taken": False, "why": f"agreement is {agreement:.2%} already"})
            continue
        together = [*chosen, name]
        found, agreeing = noise(*together)
        times = timed({"whole": whole, "mixed": file(*together)})
        slower = times["mixed"] / times["whole"]
        taken = found < error and slower <= params.max_slowdown
        why = f"{slower:.2f} times the latency, {found / error:.2f} times the error, agreement {agreeing:.2%}"
        rows.append(row | {"taken": taken, "why": why})
        if taken:
            chosen, error, agreement, slowdown = together, found, agreeing, slower
    order = tuple(layer.name for layer in network.active if layer.name in {*keep_float, *chosen})
    return Mixed(order, agreement, slowdown * base, rows)


def with_float_layers(
    best: Candidate,
    params: ExportParams,
    hard_swish: HardSwish,
    calibration: np.ndarray,
    images: np.ndarray,
    task: TrainableTask,
) -> tuple[ExportParams, dict[str, Any]]:
    """The parameters with the layers chosen by `params.choose_float` added to keep_float, and a report of the choice.

    calibration, images: uint8 (n, r, r, 3). The first is for a network without ranges, the second to measure errors on.
    """
    assert params.choose_float is not None
    ranges = best.ranges or calibrate(best.network, calibration, params.calibration, hard_swish)
    mixed = choose_keep_float(best.network, ranges, hard_swish, images, params.choose_float, params.keep_float, task=task)
    return replace(params, keep_float=mixed.keep_float), {"choose_float": mixed._asdict()}


@torch.no_grad()
def _outputs(net: torch.nn.Module, batches: Sequence[Tensor]) -> Tensor:
    return torch.cat([net(x) for x in batches])
