"""Cuts weights and module states to their leading channels."""

import torch.nn.functional as F
from torch import Tensor

from ofa_core.space.layers import Activation

State = dict[str, Tensor]
"""Tensors by their name inside a module."""


def prefix(tensor: Tensor, *sizes: int) -> Tensor:
    """The leading `sizes` of the first axes. Returns a tensor that fits as it is (keeps exported graphs clean)."""
    for axis, size in enumerate(sizes):
        if tensor.shape[axis] != size:
            tensor = tensor.narrow(axis, 0, size)
    return tensor


def activate(x: Tensor, act: Activation) -> Tensor:
    """Applies the activation of a layer record, in place where torch can."""
    if act == "relu":
        return F.relu(x, inplace=True)
    if act == "relu6":
        return F.relu6(x, inplace=True)
    if act == "h_swish":
        return F.hardswish(x)
    if act == "sigmoid":
        return x.sigmoid()
    return x


def submodule_state(name: str, state: State) -> State:
    """The state with `name.` before every key."""
    return {f"{name}.{key}": value for key, value in state.items()}
