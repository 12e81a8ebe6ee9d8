"""The weights of a torch network as TensorFlow wants them: batch norm folded in, NumPy arrays, channels last."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from ofa_core.nn.network import Network
from ofa_core.space.layers import Layer

LayerWeights = Mapping[str, np.ndarray]
"""float32 arrays of one layer: `PART.kernel` and `PART.bias` for each convolution, `kernel` and `bias` of a linear layer.

The parts are named as the submodules: conv; expand, depthwise, se.reduce, se.expand, project; reduce, spatial, restore,
shortcut.
Kernels: convolution (kH, kW, in, out), depthwise (kH, kW, channels, 1), linear (in, out).
"""


def fold(network: Network) -> dict[str, LayerWeights]:
    """The folded weights of every layer of the network's active list, by layer name.

    Folding is done in float64 and rounded to float32 once. Raises ValueError for weights that are not finite.
    """
    return {layer.name: fold_layer(network.parts[layer.name].sliced(layer), layer) for layer in network.active}  # type: ignore[operator]


def fold_layer(state: Mapping[str, Tensor], layer: Layer) -> LayerWeights:
    """The folded weights of one layer from its state: tensors by their name in the layer's module."""
    arrays = {name: tensor.detach().cpu().double().numpy() for name, tensor in state.items()}
    folded: dict[str, np.ndarray] = {}
    for name, weight in arrays.items():
        if not name.endswith("weight") or name.endswith("bn.weight"):
            continue
        part = name.removesuffix("weight")  # "expand.", or "" in a linear layer
        bias = arrays.get(f"{part}bias")
        if f"{part}bn.weight" in arrays:
            assert layer.bn_eps is not None
            gamma, beta, mean, var = (arrays[f"{part}bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var"))
            scale = gamma / np.sqrt(var + layer.bn_eps)  # (out,)
            weight, bias = weight * scale[:, None, None, None], beta - mean * scale
        if weight.ndim == 2:
            weight = weight.T  # (out, in) -> (in, out)
        elif part == "depthwise.":
            weight = weight.transpose(2, 3, 0, 1)  # (C, 1, kH, kW) -> (kH, kW, C, 1)
        else:
            weight = weight.transpose(2, 3, 1, 0)  # (out, in, kH, kW) -> (kH, kW, in, out)
        folded[f"{part}kernel"] = weight
        if bias is not None:
            folded[f"{part}bias"] = bias
    for name, array in folded.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{layer.name}: {name} holds values that are not finite")
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in folded.items()}
