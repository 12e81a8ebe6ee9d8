"""Which tensor of a TFLite file is which activation of the network: the points of ranges, and of errors of layers.

The twin computes every point in a name scope of that name, and the converter keeps the names of operators.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from ofa_core.convert.tensorflow import OPERATOR_NAMES

IMAGE, PROBABILITIES = "image", "probabilities"
WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
SAME_SCALE = {"PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "QUANTIZE", "DEQUANTIZE"}
"""Their output is the same point as their input; the first three need its very scale, and the others change the type."""


class Operator(NamedTuple):
    """An operator of a file. point: what it computes. inputs, output: indices of tensors; -1 is an input that is left out."""

    kind: str
    point: str
    inputs: list[int]
    output: int


def operators_of(model: Any) -> list[tuple[str, Any]]:
    """(TFLite's name of the operator, the operator) of every subgraph of a model, a custom one by its own name."""
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            # Files older than the field of 32 bits have the other alone.
            kind = OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            found.append((code.customCode.decode() if kind == "CUSTOM" else kind, operator))
    return found


def trace(model: Any, points: Collection[str]) -> list[Operator]:
    """The operators of a converted twin, in the order they run, with the points that they compute.

    model: as `operators.read_model` gives it. points: names of the network's activations.
    Raises ValueError for an operator whose name belongs to none of them.
    """
    [graph] = model.subgraphs
    known, found = {int(graph.inputs[0]): IMAGE}, []
    for kind, operator in operators_of(model):
        inputs, [output] = [int(i) for i in operator.inputs], operator.outputs
        if kind in SAME_SCALE:
            point = known[inputs[0]]
        elif kind == "SOFTMAX":
            point = PROBABILITIES
        else:
            point = _point(graph.tensors[output].name.decode(), kind, points)
        known[int(output)] = point
        found.append(Operator(kind, point, inputs, int(output)))
    return found


def part_of(name: str) -> str:
    """The convolution or linear layer that a tensor of weights belongs to; name: the tensor's."""
    return name.partition(";")[0].rpartition("/")[0].replace("/", ".")


def _point(name: str, kind: str, points: Collection[str]) -> str:
    """name: of an operator's output: the operators that are fused in it, the last of them first."""
    scope = part_of(name)
    outer = scope.rpartition(".")[0]
    # What a convolution writes is the sum before a hard swish, where one follows.
    candidates = (f"{scope}.sum", f"{outer}.sum") if kind in WEIGHTED else ()
    for point in (*candidates, scope, outer):
        if point in points:
            return point
    raise ValueError(f"{name}: the operator {kind} computes no activation of this network")
