"""Converts torch weights for TensorFlow: batch norm folded in, NumPy arrays, channels last."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ofa_core.nn.network import Network
from ofa_core.space.layers import Layer, lower
from ofa_core.space.ops import Op


class Weights(NamedTuple):
    """float32 arrays of one operation.

    kernel: convolution (kH, kW, in, out), depthwise (kH, kW, channels, 1), linear (in, out). bias: (out,).
    """

    kernel: np.ndarray
    bias: np.ndarray | None


def fold(network: Network) -> dict[str, Weights]:
    """The folded weights of the network's active list, by name in its operations, such as `block_1.expand`.

    Folding is done in float64 and rounded to float32 once. Raises ValueError for weights that are not finite.
    """
    folded: dict[str, Weights] = {}
    for layer in network.active:
        state = network.sliced(layer)
        folded |= {str(op.weights): fold_op(state, layer, op) for op in lower(layer) if op.weights is not None}
    return folded


def fold_op(state: Mapping[str, Tensor], layer: Layer, op: Op) -> Weights:
    """The folded weights of one operation of a layer. state: tensors by their name in the layer's module."""
    part = str(op.weights).removeprefix(layer.name).removeprefix(".")
    arrays = {
        name.removeprefix(part).removeprefix("."): tensor.detach().cpu().double().numpy()
        for name, tensor in state.items()
        if name.startswith(part)
    }
    kernel, bias = arrays["weight"], arrays.get("bias")
    if op.norm:
        assert layer.bn_eps is not None
        gamma, beta, mean, var = (arrays[f"bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var"))
        scale = gamma / np.sqrt(var + layer.bn_eps)  # (out,)
        kernel, bias = kernel * scale[:, None, None, None], beta - mean * scale
    # From (out, in, kH, kW); depthwise (C, 1, kH, kW); linear (out, in).
    axes = {"linear": (1, 0), "depthwise": (2, 3, 0, 1)}.get(op.kind, (2, 3, 1, 0))
    found = Weights(*(None if array is None else _single(array) for array in (kernel.transpose(axes), bias)))  # type: ignore[arg-type]
    for name, array in found._asdict().items():
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"{op.weights}: {name} holds values that are not finite")
    return found


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)
