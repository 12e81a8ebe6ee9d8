"""Batch normalisation of the leading channels, and the collector of exact statistics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.slices import State, prefix


class IncompleteError(Exception):
    """A batch norm waits for other batches."""


class Collector:
    """Accumulates the statistics of one batch norm over batches. They are complete once all batches were seen."""

    def __init__(self, batches: int) -> None:
        self.batches, self.current = batches, 0
        self.seen: set[int] = set()
        self.count = 0
        self.mean = self.squares = torch.zeros(())  # squares: sum of squared deviations from the mean; float64 (C,)

    def statistics(self, x: Tensor, mean: Tensor, var: Tensor) -> None:
        """Adds the current batch; writes the result into mean and var (C,) when it was the last.

        Raises IncompleteError while batches are missing: what follows this layer cannot be computed yet.
        """
        if len(self.seen) < self.batches and self.current not in self.seen:
            self.seen.add(self.current)
            batch_var, batch_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)  # (C,)
            count, batch_mean = x.numel() // x.shape[1], batch_mean.double()
            # Merging of means and squared deviations (Chan et al. 1979): no cancellation, however the images are split.
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
    """Batch normalisation of the leading channels; as many as its input has.

    channels: the most there are. eps: added to the variance. The running averages move by `momentum` in training.
    While a `collector` is set (by `ofa_core.nn.recalibration.recalibrate`) the statistics come from it instead.
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
