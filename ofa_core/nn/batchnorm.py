"""Batch normalisation of the leading channels, and the collector of exact statistics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.slices import State, prefix


class IncompleteError(Exception):
    """A batch norm needs more batches."""


class Collector:
    """Collects one batch norm's statistics, batch by batch. Complete once all batches are seen."""

    def __init__(self, batches: int) -> None:
        self.batches, self.current = batches, 0
        self.seen: set[int] = set()
        self.count = 0
        self.mean = self.squares = torch.zeros(())  # squares: sum of squared deviations from the mean; float64 (C,)

    def statistics(self, x: Tensor, mean: Tensor, var: Tensor) -> None:
        """Adds the current batch. After the last one, writes the result into mean and var (C,).

        Raises IncompleteError while batches are missing: later layers cannot run yet.
        """
        if len(self.seen) < self.batches and self.current not in self.seen:
            self.seen.add(self.current)
            batch_var, batch_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)  # (C,)
            count, batch_mean = x.numel() // x.shape[1], batch_mean.double()
            # Merges means and squared deviations (Chan et al. 1979), without cancellation for any split.
            total, delta = self.count + count, batch_mean - self.mean
            self.squares = self.squares + batch_var.double() * count + delta**2 * (self.count * count / total)
            self.mean = self.mean + delta * (count / total)
            self.count = total
            if len(self.seen) == self.batches:
                mean.copy_(self.mean)
                var.copy_(self.squares / self.count)
        if len(self.seen) < self.batches:
            raise IncompleteError


class BatchNorm(nn.Module):
    """Batch norm over the leading channels; the input sets their number.

    channels: the maximum. eps: added to the variance. Training moves the running averages by `momentum`.
    While a `collector` is set (by `ofa_core.nn.recalibration.recalibrate`), it supplies the statistics.
    """

    def __init__(self, channels: int, eps: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.collector: Collector | None = None
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        c = x.shape[1]
        mean, var = prefix(self.running_mean, c), prefix(self.running_var, c)
        if self.collector is not None:
            self.collector.statistics(x, mean, var)
        return F.batch_norm(x, mean, var, prefix(self.weight, c), prefix(self.bias, c), self.training, self.momentum, self.eps)

    def sliced(self, channels: int) -> State:
        return {name: tensor[:channels].clone() for name, tensor in self.state_dict().items()}
