"""Weights for TensorFlow: batch norm folded in, NumPy arrays, channels last."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from ofa_core.nn.folding import folded_weights
from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError
from ofa_core.space.layers import lower

AXES = {"conv": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1), "linear": (1, 0)}
"""Order of axes by kind of operation, from torch's (out, in, kH, kW), (channels, 1, kH, kW) and (out, in)."""


class Weights(NamedTuple):
    """float32 arrays of one operation.

    kernel: convolution (kH, kW, in, out), depthwise (kH, kW, channels, 1), linear (in, out). bias: (out,).
    """

    kernel: np.ndarray
    bias: np.ndarray | None


def fold(network: Network) -> dict[str, Weights]:
    """The folded weights of the network's active list, by name in its operations, such as `block_1.expand`.

    Raises InputError for weights that are not finite.
    """
    kinds = {op.weights: op.kind for layer in network.active for op in lower(layer)}
    return {
        name: Weights(
            _array(name, "kernel", weight.permute(AXES[kinds[name]])), None if bias is None else _array(name, "bias", bias)
        )
        for name, (weight, bias) in folded_weights(network).items()
    }


def _array(weights: str, name: str, tensor: Tensor) -> np.ndarray:
    array = np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{weights}: {name} holds values that are not finite")
    return array
