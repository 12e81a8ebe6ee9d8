"""Loads the weights of any torch network whose layers run in the order of ours, whatever their names are.

Published MobileNets and EfficientNets differ in names, not in what they compute: convolution, batch norm, and so on, block by
block. A state dict keeps the order in which a network's modules were made, which is the order in which they run. So modules
are matched one by one, and every shape is compared.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError
from ofa_core.space.layers import lower

NORM = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a batch norm."""


class _Module(NamedTuple):
    """A module with weights: its name, and its tensors by their name inside it."""

    name: str
    tensors: dict[str, Tensor]


def load_foreign(net: Network, state: Mapping[str, Tensor], where: str) -> None:
    """Loads a state dict into the active layers of `net`, in place. Kernel matrices, which it has none of, stay as they are.

    net: a stand-alone network, or a super-network whose largest sub-network is active. state: with modules in the order they
    run; weights (out, in, k, k) or (out, in), batch norms with running statistics. where: names the weights in errors.

    Raises InputError that names the first module that does not fit, and the layer it was held against. `net` is then unchanged.
    """
    theirs, found = _modules(state), dict[str, Tensor]()
    for ours in _expected(net):
        module = next(theirs, None)
        if module is None:
            raise InputError(f"{where}: ends before layer {ours.name}")
        if set(module.tensors) != set(ours.tensors):
            held, wanted = (", ".join(sorted(tensors)) for tensors in (module.tensors, ours.tensors))
            raise InputError(f"{where}: {module.name} has {held}, where layer {ours.name} has {wanted}")
        for key, tensor in module.tensors.items():
            into = ours.tensors[key]
            if tensor.dim() != into.dim() and tensor.numel() == into.numel():  # a linear layer as a 1x1 convolution
                tensor = tensor.reshape(into.shape)
            if tensor.shape != into.shape:
                shapes = f"{tuple(tensor.shape)}, where layer {ours.name} has {tuple(into.shape)}"
                raise InputError(f"{where}: {module.name}.{key} is {shapes}")
            found[f"{ours.name}.{key}"] = tensor
    if (extra := next(theirs, None)) is not None:
        raise InputError(f"{where}: {extra.name} is left over; the network has fewer layers")
    net.load_state_dict({f"parts.{name}": tensor for name, tensor in found.items()}, strict=False)


def _modules(state: Mapping[str, Tensor]) -> Iterator[_Module]:
    """The modules of a state dict, in order. Counters of batch norms are left out."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        module, _, key = name.rpartition(".")
        if key != "num_batches_tracked":
            found.setdefault(module, {})[key] = tensor
    return (_Module(name, tensors) for name, tensors in found.items())


def _expected(net: Network) -> Iterator[_Module]:
    """The modules of the active layers, in the order they run, with meta tensors of their shapes."""
    for layer in net.active:
        state = net.sliced(layer)
        for op in lower(layer):
            if op.weights is None:
                continue
            part = op.weights.removeprefix(layer.name).removeprefix(".")
            inside = {key: _meta(state[f"{part}.{key}" if part else key]) for key in ("weight", *["bias"] * op.bias)}
            yield _Module(op.weights, inside)
            if op.norm:
                yield _Module(f"{op.weights}.bn", {key: _meta(state[f"{part}.bn.{key}"]) for key in NORM})


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, device="meta")
