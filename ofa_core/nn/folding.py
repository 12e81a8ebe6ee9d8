"""Batch norm folded into the convolution before it, and networks that compute this way: in evaluation, and in files.

Jacob et al. 2018, section 3.2 (https://arxiv.org/abs/1712.05877). Folding is done in float64 and rounded once, the same for
evaluation, fake quantisation and export, so that all three agree on every weight.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_core.nn.depthwise import depthwise_conv
from ofa_core.nn.elastic import join, max_pool
from ofa_core.nn.network import Network
from ofa_core.nn.part import convolve
from ofa_core.nn.slices import activate
from ofa_core.space.graph import last_reads, lower_network, output_points
from ofa_core.space.layers import Layer, lower
from ofa_core.space.ops import IMAGE, Op

Weights = tuple[Tensor, Tensor | None]
"""Weights (out, ...) and bias (out,) of an operation."""


def fold(weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Weights (out, ...) and bias (out,) of a convolution with the batch norm after it folded in.

    weight: (out, ...). scale, shift, mean, var: of the batch norm, each (out,).
    """
    factor = scale.double() / (var.double() + eps).sqrt()  # (out,)
    bias = shift.double() - mean.double() * factor
    return (weight.double() * factor[:, None, None, None]).to(weight.dtype), bias.to(weight.dtype)


def folded_weights(network: Network) -> dict[str, Weights]:
    """Copies of the folded weights of the network's active list, by name in its operations, such as `block_1.expand`."""
    found: dict[str, Weights] = {}
    for layer in network.active:
        state = network.sliced(layer)
        found |= {op.weights: _of_op(state, layer, op) for op in lower(layer) if op.weights is not None}
    return found


class FoldedNetwork:
    """A network as it computes in eval mode, with batch norm folded in: equal outputs to rounding, in 60 % of the time.

    The active layers and copies of their weights are taken when it is made.
    """

    def __init__(self, network: Network) -> None:
        self.ops = lower_network(network.active, "fused")
        self.outputs, self.named = output_points(network.active, network.outputs), bool(network.outputs)
        self.weights = folded_weights(network)

    def __call__(self, x: Tensor) -> Any:
        """(B, 3, r, r) -> (B, num_classes); with named outputs, a dictionary of tensors by point."""
        values = {IMAGE: x}
        for op, unused in last_reads(self.ops, self.outputs):
            values[op.point] = compute(op, [values[point] for point in op.inputs], *self.weights.get(str(op.weights), ()))
            for point in unused:
                del values[point]
        return {point: values[point] for point in self.outputs} if self.named else values[self.outputs[0]]


def compute(op: Op, inputs: list[Tensor], weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """An operation with its activation. inputs: maps (B, C, H, W) or vectors (B, C). weight, bias: if it has any, folded."""
    [x, *others] = inputs
    if weight is not None:
        if op.kind == "linear":
            y = F.linear(x, weight, bias)
        elif op.kind == "depthwise":
            y = depthwise_conv(x, weight, op.stride, op.padding)
            if bias is not None:
                y += bias[:, None, None]
        else:
            y = convolve(x, weight, bias, op.stride, op.padding)
        return activate(y + op.constant if op.constant else y, op.act)
    match op.kind:
        case "maxpool":
            return max_pool(x, op.kernel, op.stride, op.padding)
        case "avgpool":
            return F.avg_pool2d(x, op.kernel, op.stride, ceil_mode=True)
        case "mean" | "flat_mean":
            return x.mean(dim=(2, 3), keepdim=op.kind == "mean")
        case "hard_swish":
            return F.hardswish(x)
        case "join":
            y = join(inputs, op.out)
        case "sigmoid":
            y = x.sigmoid()
        case "add":
            y = x + others[0]
        case "mul":
            y = x * others[0]
        case "divide":
            y = x / op.constant
        case "shift":
            y = x + op.constant
        case _:
            raise AssertionError(f"{op.point}: {op.kind} has no weights")
    return activate(y, op.act)


@torch.no_grad()
def _of_op(state: Mapping[str, Tensor], layer: Layer, op: Op) -> Weights:
    """The folded weights of one operation of a layer. state: tensors by their name in the layer's module."""
    part = str(op.weights).removeprefix(layer.name).removeprefix(".")

    def tensor(name: str) -> Tensor | None:
        return state.get(f"{part}.{name}" if part else name)

    weight, bias = tensor("weight"), tensor("bias")
    assert weight is not None
    if not op.norm:
        return weight, bias
    assert layer.bn_eps is not None
    scale, shift, mean, var = (state[f"{part}.bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var"))
    return fold(weight, scale, shift, mean, var, layer.bn_eps)
