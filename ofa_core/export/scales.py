"""Checks that every scale of an integer file is the one of training or calibration, bit for bit."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ofa_core.convert.network import PROBABILITIES
from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.tracing import WEIGHTED, Operator, trace
from ofa_core.quantization.fake import FakeQuantized, scales_by_weights
from ofa_core.quantization.grid import grid
from ofa_core.run.errors import InputError
from ofa_core.space.ops import IMAGE

PROBABILITY_SCALE, PROBABILITY_ZERO = 1 / 256, -128
"""What TFLite requires for the output of a softmax, in int8."""
TENSOR_UINT8 = 3
"""In TFLite's schema."""
BIAS_TOLERANCE = 1e-6
"""Relative, for the scale of biases: a product of two."""
LARGEST_BIAS = 2**30
"""If a bias would be a larger integer, the converter raises the scale of the channel's weights just enough to avoid it. This
happens to channels whose weights are close to 0."""


def compare_scales(content: bytes, simulation: FakeQuantized, keep_float: Collection[str] = ()) -> list[dict[str, Any]]:
    """Every scale of an integer file next to the expected one, in the order of the operators.

    simulation: of the converted network, with its ranges. keep_float: layers without scales.
    A row: tensor (a point, or the convolution or linear layer that weights belong to), kind (activation, weights, bias),
    channels, expected_scale and scale (of weights and biases: the largest of all channels), expected_zero_point and zero_point,
    equal. A scale that is missing from the file is 0. Raises InputError for an operator that computes no
    activation of the network.
    """
    model = read_model(content)
    [graph] = model.subgraphs
    parts = {name: scales.numpy() for name, scales in scales_by_weights(simulation.network).items()}
    expected = {PROBABILITIES: (np.float32(PROBABILITY_SCALE), PROBABILITY_ZERO)}
    for name, bounds in simulation.ranges.items():
        found = grid(*(torch.tensor(bound) for bound in bounds))
        expected[name] = (np.float32(found.scale), int(found.zero_point))
    image = graph.tensors[int(graph.inputs[0])]
    scales, zeros = _of(image)
    unsigned = image.type == TENSOR_UINT8
    rows = [_row(IMAGE, "activation", *expected[IMAGE], scales, zeros - 128 * unsigned)]
    for operator in trace(model, simulation.ops):
        tensor = graph.tensors[operator.output]
        if operator.kind in ("QUANTIZE", "DEQUANTIZE") or operator.layer in keep_float:
            continue
        if operator.kind in WEIGHTED:
            rows += _weights(model, graph, operator, parts)
        rows.append(_row(operator.point, "activation", *expected[operator.point], *_of(tensor)))
    seen = {row["tensor"] for row in rows}
    wanted = {name for name in (*expected, *parts) if name.partition(".")[0] not in keep_float}
    rows += [
        _row(name, "missing", np.float32(1), 0, np.zeros(1, np.float32), np.zeros(1, int)) for name in sorted(wanted - seen)
    ]
    return rows


def check_scales(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The number of scales by kind. Raises InputError, one line, if a scale is not the expected one."""
    wrong = [row for row in rows if not row["equal"]]
    if wrong:
        row = wrong[0]
        raise InputError(
            f"scales: {row['tensor']}: {row['kind']}: {row['scale']:.9g} with zero point {row['zero_point']} in the file, "
            f"{row['expected_scale']:.9g} with {row['expected_zero_point']} in the network "
            f"({len(wrong)} of {len(rows)} tensors differ)"
        )
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in ("activation", "weights", "bias")}
    return counts | {"channels": sum(row["channels"] for row in rows if row["kind"] == "weights")}


def _weights(model: Any, graph: Any, operator: Operator, parts: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rows of an operator's weights and bias."""
    name, inputs = str(operator.weights), operator.inputs
    expected, (found, zeros) = parts[name], _of(graph.tensors[inputs[1]])
    if len(inputs) < 3 or inputs[2] < 0:
        return [_row(name, "weights", expected, 0, found, zeros)]
    bias = graph.tensors[inputs[2]]
    integers = np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.int32).astype(np.int64)
    full = np.abs(integers) >= LARGEST_BIAS * (1 - BIAS_TOLERANCE)
    if len(found) == len(expected) == len(full):
        expected = np.where(full & (found > expected), found, expected)
    products = expected * _of(graph.tensors[inputs[0]])[0]
    scales, bias_zeros = _of(bias)
    near = len(scales) == len(products) and np.allclose(scales, products, rtol=BIAS_TOLERANCE, atol=0)
    row = _row(name, "bias", products, 0, scales, bias_zeros) | {"equal": near and not bias_zeros.any()}
    return [_row(name, "weights", expected, 0, found, zeros), row]


def _of(tensor: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points of a tensor; zeros if it has none."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return np.zeros(1, np.float32), np.zeros(1, int)
    return np.asarray(quantization.scale, np.float32), np.asarray(quantization.zeroPoint, int)


def _row(
    tensor: str, kind: str, expected: np.ndarray | np.float32, expected_zero: int, scales: np.ndarray, zeros: np.ndarray
) -> dict[str, Any]:
    expected = np.atleast_1d(expected)
    equal = len(scales) == len(expected) and bool((scales == expected).all()) and bool((zeros == expected_zero).all())
    return {
        "tensor": tensor,
        "kind": kind,
        "channels": len(expected),
        "expected_scale": float(expected.max()),
        "scale": float(scales.max()),
        "expected_zero_point": expected_zero,
        "zero_point": int(zeros[0]),
        "equal": equal,
    }
