"""Layers that export may add to a network: a normalisation of its input, a class that never wins."""

from dataclasses import replace

import torch

from ofa_core.nn.inputs import SYMMETRIC
from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError
from ofa_core.space.layers import Layer

BACKGROUND = "background"
"""Name of the class that never wins."""


def with_uniform_input(network: Network) -> Network:
    """A network with one mean and one deviation for all channels, as files need it: itself, or a copy that begins with a layer.

    The copy takes pixel / 127.5 - 1. The change of scale is a 1x1 convolution before the first layer. It cannot be folded into
    the first convolution, because padding would then have the wrong value.
    """
    if network.normalization.uniform:
        return network
    eps, first = 1e-5, network.active[0]
    layer = Layer(name="normalization", kind="conv", inp=3, out=3, resolution=first.resolution, bn_eps=eps)
    longer = Network([layer, *network.active], dropout=network.dropout)
    mean, std = (torch.tensor(values).double() for values in network.normalization)
    [middle, *_], [reach, *_] = SYMMETRIC
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    added = {
        "conv.weight": (reach / std).diag()[:, :, None, None],  # (3, 3, 1, 1)
        "bn.weight": torch.full((3,), 1 + eps).sqrt(),
        "bn.bias": (middle - mean) / std,
        "bn.running_mean": torch.zeros(3),
        "bn.running_var": torch.ones(3),
    }
    part = longer.parts["normalization"].state_dict()
    names = {suffix: name for name in part for suffix in added if name.endswith(suffix)}
    state |= {f"parts.normalization.{names[suffix]}": tensor.to(torch.float32) for suffix, tensor in added.items()}
    longer.load_state_dict(state)
    return longer.train(network.training)


def with_background(network: Network) -> Network:
    """A copy of a classifier with one more class, at index 0, whose logit is the mean of all other logits.

    The mean never exceeds the largest logit, so index 0 never wins and the order of the other classes stays. Its probability
    is at most 1 / (classes + 1). It lies inside the range of the logits, so integer files keep the scale of their output.
    The LPCVC winner's conversion (mit-han-lab/lpcvc, get_tfinit.py) has the same two aims. It copies class 1 with the smallest
    of all biases, and so ties with class 1 if the bias of class 1 is less than one 8-bit step above the smallest.

    Raises InputError if the last layer is not linear, or has only one class.
    """
    *before, last = network.active
    if last.kind != "linear" or last.out < 2:
        raise InputError(f"{last.name}: a background class needs a linear layer of two classes or more before it")
    wider = Network([*before, replace(last, out=last.out + 1)], dropout=network.dropout, normalization=network.normalization)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name in (f"parts.{last.name}.weight", f"parts.{last.name}.bias"):
        if name in state:
            state[name] = torch.cat([state[name].double().mean(0, keepdim=True).to(state[name].dtype), state[name]])
    wider.load_state_dict(state)
    return wider.train(network.training)
