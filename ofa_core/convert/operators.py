"""The operators of a TFLite file, read from the file itself, and what the operations of a network may be converted to."""

from collections import Counter
from collections.abc import Collection, Sequence

from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.tracing import operators_of
from ofa_core.space.ops import Op, OpKind

TFLITE: dict[OpKind, str] = {
    "hard_swish": "HARD_SWISH",  # first, for another form also changes the number of additions and products
    "conv": "CONV_2D",
    "depthwise": "DEPTHWISE_CONV_2D",
    "linear": "FULLY_CONNECTED",
    "add": "ADD",
    "mul": "MUL",
    "divide": "MUL",
    "shift": "ADD",
    "mean": "MEAN",
    "flat_mean": "MEAN",
    "maxpool": "MAX_POOL_2D",
    "avgpool": "AVERAGE_POOL_2D",
}
"""The operator of a float file that each kind of operation becomes."""
PLAIN = {*TFLITE.values(), "PAD", "SOFTMAX"}
"""Operators of a float file. ReLU, ReLU6 and biases are fused into these; layouts are TFLite's, so nothing is transposed."""


def operators(content: bytes) -> Counter[str]:
    """How often a TFLite file has each operator, by TFLite's name, a custom one by its own. Raises ValueError: `read_model`."""
    return Counter(kind for kind, _ in operators_of(read_model(content)))


def expected_operators(ops: Sequence[Op]) -> Counter[str]:
    """The operators that a conversion must neither lose nor add, 0 of those that do not occur."""
    return Counter(dict.fromkeys(TFLITE.values(), 0)) + Counter(TFLITE[op.kind] for op in ops)


def check_operators(
    name: str, content: bytes, ops: Sequence[Op], conversions: int = 0, keep_float: Collection[str] = ()
) -> dict[str, int]:
    """The operators of a TFLite file of a whole network, sorted by name, once they are what its operations ask for.

    name: of the file, for messages. conversions: most QUANTIZE operators, 2 where uint8 is in and out of int8 arithmetic.
    keep_float: layers that are float in an integer file, whose conversions are allowed for.

    Raises ValueError that names an operator that does not belong there, or is there too often or too seldom.
    """
    found, expected = operators(content), expected_operators(ops)
    allowed = PLAIN | ({"QUANTIZE"} if conversions else set()) | ({"QUANTIZE", "DEQUANTIZE"} if keep_float else set())
    stray = sorted(set(found) - allowed)
    if stray:
        raise ValueError(f"{name}: the operator {stray[0]} ({found[stray[0]]} times) does not belong in this file")
    if found["QUANTIZE"] > conversions and not keep_float:
        raise ValueError(f"{name}: {found['QUANTIZE']} QUANTIZE operators, {conversions} belong in this file")
    for operator in TFLITE.values():
        if found[operator] != expected[operator]:
            raise ValueError(f"{name}: {found[operator]} operators {operator}, the layers need {expected[operator]}")
    return dict(sorted(found.items()))
