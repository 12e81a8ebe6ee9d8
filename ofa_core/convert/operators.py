"""The operators of a TFLite file, read from the file itself, and what a converted layer list may consist of."""

from collections import Counter
from collections.abc import Collection, Sequence

from ofa_core.convert.params import HardSwish
from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.tracing import operators_of
from ofa_core.space.layers import Layer

PLAIN = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN", "PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D",
         "HARD_SWISH", "SOFTMAX"}  # fmt: skip
"""Operators of a float file. ReLU, ReLU6 and biases are fused into these; layouts are TFLite's, so nothing is transposed."""


def operators(content: bytes) -> Counter[str]:
    """How often a TFLite file has each operator, by TFLite's name, a custom one by its own. Raises ValueError: `read_model`."""
    return Counter(kind for kind, _ in operators_of(read_model(content)))


def expected_operators(layers: Sequence[Layer], hard_swish: HardSwish) -> Counter[str]:
    """What a layer list is made of in a float file: the operators that the conversion must neither lose nor add."""
    counts: Counter[str] = Counter({"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "HARD_SWISH": 0, "MEAN": 0})
    for layer in layers:
        activations = 1
        if layer.kind == "mbconv":
            activations = 1 + (layer.mid != layer.inp)
            counts.update(CONV_2D=activations + 2 * bool(layer.se), DEPTHWISE_CONV_2D=1, MEAN=bool(layer.se))
        elif layer.kind == "bottleneck":
            counts["CONV_2D"] += 3 + (not layer.residual)
        else:
            kind = {"conv": "CONV_2D", "linear": "FULLY_CONNECTED", "avgpool": "MEAN", "maxpool": "MAX_POOL_2D"}[layer.kind]
            counts[kind] += 1
        if layer.act == "h_swish" and hard_swish == "fused":
            counts["HARD_SWISH"] += activations
    return counts


def check_operators(
    name: str,
    content: bytes,
    layers: Sequence[Layer],
    hard_swish: HardSwish,
    conversions: int = 0,
    keep_float: Collection[str] = (),
) -> dict[str, int]:
    """The operators of a TFLite file of a whole network, sorted by name, once they are what the layers ask for.

    name: of the file, for messages. conversions: most QUANTIZE operators, 2 where uint8 is in and out of int8 arithmetic.
    keep_float: layers that are float in an integer file, whose conversions are allowed for.

    Raises ValueError that names an operator that does not belong there, or is there too often or too seldom.
    """
    found, expected = operators(content), expected_operators(layers, hard_swish)
    allowed = PLAIN | ({"QUANTIZE"} if conversions else set()) | ({"QUANTIZE", "DEQUANTIZE"} if keep_float else set())
    stray = sorted(set(found) - allowed)
    if stray:
        raise ValueError(f"{name}: the operator {stray[0]} ({found[stray[0]]} times) does not belong in this file")
    if found["QUANTIZE"] > conversions and not keep_float:
        raise ValueError(f"{name}: {found['QUANTIZE']} QUANTIZE operators, {conversions} belong in this file")
    for operator, count in expected.items():
        if found[operator] != count:
            raise ValueError(f"{name}: {found[operator]} operators {operator}, the layers need {count}")
    return dict(sorted(found.items()))
