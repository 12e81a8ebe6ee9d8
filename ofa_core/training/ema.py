"""An exponential moving average of a network's state. It is often better than the last state."""

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average over steps of all weights and batch norm statistics. `update` adds a step; `copy_to` writes it to a network.

    decay: weight of the past. In the first steps it is at most (1 + step) / (10 + step), as in TensorFlow's
    ExponentialMovingAverage, so that the random start is soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Moves the average towards the network's state after a step. Steps count from 0."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        new: dict[str, Tensor] = net.state_dict()
        torch._foreach_lerp_(list(self.state.values()), [new[name] for name in self.state], weight)

    def copy_to(self, net: nn.Module) -> None:
        """Replaces the network's state with the average."""
        net.load_state_dict(self.state)
