"""Batch normalisation of the leading channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.slices import State, prefix


class BatchNorm(nn.Module):
    """Batch norm over the leading channels; the input sets their number.

    channels: the maximum. eps: added to the variance. Training moves the running averages by `momentum`.
    """

    def __init__(self, channels: int, eps: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        c = x.shape[1]
        mean, var = prefix(self.running_mean, c), prefix(self.running_var, c)
        return F.batch_norm(x, mean, var, prefix(self.weight, c), prefix(self.bias, c), self.training, self.momentum, self.eps)

    def sliced(self, channels: int) -> State:
        return {name: tensor[:channels].clone() for name, tensor in self.state_dict().items()}
