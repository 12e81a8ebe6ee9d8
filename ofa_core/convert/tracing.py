"""Maps the tensors of a TFLite file to points of the network, to write ranges and compare layers.

Every operation of a TensorFlow network has its own name scope, and the converter keeps the names of operators.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ofa_core.convert.network import PROBABILITIES, scope, scope_of_point
from ofa_core.convert.tensorflow import OPERATOR_NAMES
from ofa_core.run.errors import InputError
from ofa_core.space.ops import IMAGE, Op

WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
SAME_RANGE = {"PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "QUANTIZE", "DEQUANTIZE"}
"""Their input and output are the same point. The first three need equal scales; the others change the type."""


class Operator(NamedTuple):
    """An operator of a file. point: what it computes. layer: the layer it belongs to. weights: as `Op.weights`; None if none.
    inputs, output: indices of tensors; -1 is an omitted input."""

    kind: str
    point: str
    layer: str
    weights: str | None
    inputs: list[int]
    output: int


def operators_of(model: Any) -> list[tuple[str, Any]]:
    """(name, operator) for all operators of a model. Names are TFLite's; a custom operator has its own."""
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            # Files older than the 32-bit field have only the other.
            kind = OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            found.append((code.customCode.decode() if kind == "CUSTOM" else kind, operator))
    return found


def trace(model: Any, ops: Sequence[Op]) -> list[Operator]:
    """The operators of a converted network, in the order they run, with the points that they compute.

    model: as `tensorflow.read_model` gives it. ops: the network's operations.
    Raises InputError for an operator whose name belongs to none of them.
    """
    weighted = {scope(op): op for op in ops if op.weights is not None}
    points = {scope_of_point(op.point): op for op in ops}
    [graph] = model.subgraphs
    named = _outputs(model)
    known, found = {int(graph.inputs[0]): IMAGE}, []
    for kind, operator in operators_of(model):
        inputs, [output] = [int(i) for i in operator.inputs], operator.outputs
        name = graph.tensors[output].name.decode()
        # Fused operators share a name that lists the last one first: the one in its activation's scope.
        place = named.get(int(output)) or name.partition(";")[0].rpartition("/")[0] + "/"
        point, layer, weights = known.get(inputs[0], ""), name.partition("/")[0], None
        if kind == "SOFTMAX":
            point = layer = PROBABILITIES
        elif kind not in SAME_RANGE:
            op = (weighted.get(place) if kind in WEIGHTED else None) or points.get(place)
            if op is None:
                raise InputError(f"{name}: the operator {kind} computes no point of this network")
            point, layer, weights = op.point, op.layer, op.weights if kind in WEIGHTED else None
        known[int(output)] = point
        found.append(Operator(kind, point, layer, weights, inputs, int(output)))
    return found


def _outputs(model: Any) -> dict[int, str]:
    """The scope of each output's point, by tensor. The converter renames outputs, and what they are converted from."""
    signatures = [output for signature in model.signatureDefs or () for output in signature.outputs]
    named = {int(output.tensorIndex): scope_of_point(output.name.decode()) for output in signatures}
    converted = [operator for kind, operator in operators_of(model) if kind in ("QUANTIZE", "DEQUANTIZE")]
    return named | {int(o.inputs[0]): named[int(o.outputs[0])] for o in converted if int(o.outputs[0]) in named}
