"""Full-integer files of whole networks: the float file, quantised with our ranges.

The converter's own calibration is not used. It reads an operator's inputs after the operator has run. Where the runtime
reuses an input's memory for the output, as in additions and products, it mistakes the output for the input.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ofa_core.convert.network import PROBABILITIES, tf_network
from ofa_core.convert.params import IntegerFormat
from ofa_core.convert.tensorflow import quantize_annotated, read_model, schema, write_model
from ofa_core.convert.tflite import convert_float
from ofa_core.convert.tracing import trace
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import Network
from ofa_core.quantization.fake import Ranges
from ofa_core.quantization.grid import grid
from ofa_core.quantization.observe import Calibration, observe
from ofa_core.run.errors import InputError
from ofa_core.space.graph import range_points
from ofa_core.space.ops import IMAGE, HardSwish, Op

BATCH = 20
"""Calibration images per batch; moving_average averages over these batches."""


def convert_integer(
    network: Network,
    ranges: Ranges,
    hard_swish: HardSwish = "composed",
    io: IntegerFormat = "uint8",
    keep_float: Sequence[str] = (),
) -> bytes:
    """The integer file of a stand-alone network, by `quantize`. Raises InputError as `quantize` and `tf_network` do."""
    whole = tf_network(network, hard_swish=hard_swish)
    return quantize(convert_float(whole), whole.ops, ranges, io, keep_float)


def quantize(
    float_file: bytes, ops: Sequence[Op], ranges: Ranges, io: IntegerFormat = "uint8", keep_float: Sequence[str] = ()
) -> bytes:
    """A full-integer file: pixels (1, r, r, 3) in, probabilities (1, classes) out, both uint8, or int8 (minus 128).

    float_file: the float32 TFLite file of the network. ops: its operations. ranges: of every activation, as observed or trained
    for this form of hard swish. keep_float: names of layers that stay float; the converter adds the
    conversions around them. Raises InputError for a missing or unknown range, and an unknown name in keep_float.
    """
    model = read_model(float_file)
    layers = _annotate(model, ops, ranges)
    unknown = sorted(set(keep_float) - set(layers))
    if unknown:
        raise InputError(f"keep_float: {unknown[0]!r} is not a layer; there are {', '.join(layers)}")
    return quantize_annotated(write_model(model), io, [name for layer in keep_float for name in layers[layer]])


def draw_calibration(available: int, count: int, seed: int) -> np.ndarray:
    """Indices of the `count` train images, or all that are available, that calibrate every network alike. In random order."""
    return np.random.default_rng(seed).choice(available, min(count, available), replace=False)


def calibrate(
    network: Network, images: np.ndarray, method: Calibration, hard_swish: HardSwish
) -> dict[str, tuple[float, float]]:
    """The ranges of a network's activations on calibration images uint8 (n, r, r, 3), for post-training quantisation.

    Uses one thread: the number of threads changes the last bits of sums, and so the bytes of files. Raises InputError for
    images of another type or shape, or none, and for an activation that is not finite.
    """
    images, r = np.asarray(images), network.active[0].resolution
    if images.dtype != np.uint8 or images.shape[1:] != (r, r, 3):
        raise InputError(f"calibration images: {images.dtype} {images.shape}, expected uint8 (n, {r}, {r}, 3)")
    batches = [to_input(images[i : i + BATCH], network.normalization) for i in range(0, len(images), BATCH)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return observe(network, batches, method, hard_swish)
    finally:
        torch.set_num_threads(threads)


def _annotate(model: Any, ops: Sequence[Op], ranges: Ranges) -> dict[str, list[str]]:
    """Writes every activation's range into a float model, as calibration would. Returns operator names by layer."""
    [graph] = model.subgraphs
    layers: dict[str, list[str]] = {}
    tensors = {int(graph.inputs[0]): IMAGE}
    for operator in trace(model, ops):
        tensors[operator.output] = operator.point
        if operator.point != PROBABILITIES:
            layers.setdefault(operator.layer, []).append(graph.tensors[operator.output].name.decode())
    if missing := sorted(set(ranges) - set(tensors.values())):
        raise InputError(f"ranges: {missing[0]} is not an activation of this network")
    bounds, shared = {**ranges, PROBABILITIES: (0.0, 1.0)}, range_points(ops)
    for index, point in tensors.items():
        if (owner := shared.get(point, point)) not in bounds:
            raise InputError(f"ranges: {owner}: missing")
        found = grid(*(torch.tensor(bound) for bound in bounds[owner]))
        parameters = schema.QuantizationParametersT()
        parameters.min, parameters.max = [found.low.item()], [found.high.item()]
        graph.tensors[index].quantization = parameters
    return layers
