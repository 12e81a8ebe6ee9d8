"""The operators of a TFLite file, and those that a network's operations may become."""

from collections import Counter
from collections.abc import Collection, Sequence

from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.tracing import operators_of
from ofa_core.run.errors import InputError
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
    "join": "CONCATENATION",
    "sigmoid": "LOGISTIC",
}
"""The operator of a float file that each kind of operation becomes; a join also reshapes each of its maps."""
PLAIN = {*TFLITE.values(), "RESHAPE", "PAD", "SOFTMAX"}
"""Operators of a float file. ReLU, ReLU6 and biases are fused into these; layouts are TFLite's, so nothing is transposed."""


def operators(content: bytes) -> Counter[str]:
    """Counts a TFLite file's operators by TFLite's name, custom ones by their own. Raises InputError as `read_model`."""
    return Counter(kind for kind, _ in operators_of(read_model(content)))


def expected_operators(ops: Sequence[Op]) -> Counter[str]:
    """Counts the operators that a conversion must neither lose nor add; absent ones are 0."""
    reshapes = sum(len(op.inputs) for op in ops if op.kind == "join")
    return Counter(TFLITE[op.kind] for op in ops) + Counter({"RESHAPE": reshapes})


def check_operators(
    name: str, content: bytes, ops: Sequence[Op], conversions: int = 0, keep_float: Collection[str] = ()
) -> dict[str, int]:
    """Checks a whole network's TFLite file against its operations. Returns its operators, sorted by name.

    name: of the file, for messages. conversions: most QUANTIZE operators; 2 for int8 arithmetic with uint8 in and out.
    keep_float: layers that stay float in an integer file; their conversions are allowed.

    Raises InputError naming an operator that does not belong, or occurs too often or too seldom.
    """
    found, expected = operators(content), expected_operators(ops)
    allowed = PLAIN | ({"QUANTIZE"} if conversions else set()) | ({"QUANTIZE", "DEQUANTIZE"} if keep_float else set())
    stray = sorted(set(found) - allowed)
    if stray:
        raise InputError(f"{name}: the operator {stray[0]} ({found[stray[0]]} times) does not belong in this file")
    if found["QUANTIZE"] > conversions and not keep_float:
        raise InputError(f"{name}: {found['QUANTIZE']} QUANTIZE operators, {conversions} belong in this file")
    for operator in (*TFLITE.values(), "RESHAPE"):
        if found[operator] != expected[operator]:
            raise InputError(f"{name}: {found[operator]} operators {operator}, the layers need {expected[operator]}")
    return dict(sorted(found.items()))
