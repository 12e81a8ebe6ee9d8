"""A class that never wins, which export may add to a classifier."""

from dataclasses import replace

import torch

from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError

BACKGROUND = "background"
"""Name of the class that never wins."""


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
