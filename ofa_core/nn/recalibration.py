"""Batch norm recalibration: exact statistics of one sub-network over a set of images.

Sub-networks share batch norms, so the running averages fit none of them. A sub-network's statistics are therefore measured
anew before it is evaluated. Once-for-All's code does so over 2,000 training images, batch by batch. Here the result is the
mean and biased variance over all positions of all images, as if they were one batch. It depends neither on the split
into chunks nor on earlier averages.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError
from ofa_core.space.graph import plan
from ofa_core.space.ops import IMAGE

POSITIONS = 2**14
"""Most positions that are added up in single precision: the variance is then right to five digits or more."""


@torch.no_grad()
def recalibrate(net: Network, chunks: Sequence[Tensor]) -> None:
    """Sets the active sub-network's batch norm statistics to those of the given images. Sets eval mode.

    net: a super-network, where only the active sub-network's channels change, or a stand-alone network.
    chunks: images (B, 3, r, r) at the active resolution; read twice, so pass a sequence.

    Layer by layer: first all chunks are measured, then all run with the result. A layer of several batch norms measures them
    one after the other, since each reads what the one before it computes. With one chunk, this all happens in one pass.

    In memory are the points that later layers read, of all images, and what a layer computes of one chunk. With 2,000 images
    at 224 pixels in chunks of 83, a process that recalibrates the full network of ofa_mbv3 needs 3.6 GB; the points are 1.6 GB
    of it. To run the network anew up to each batch norm would keep no points, but take many times as long.

    Raises InputError without images.
    """
    if not len(chunks):
        raise InputError("recalibrate: no images")
    net.eval()
    values: dict[str, deque[Tensor]] = {}
    for step in plan(net.active, net.outputs):
        norms = [module for module in net.parts[step.layer.name].modules() if isinstance(module, BatchNorm)]
        inputs = [chunks if point == IMAGE else values[point] for point in step.sources]
        if len(inputs[0]) > 1:
            for norm in norms:  # in the order they run
                with _measuring(norm):
                    for xs in zip(*inputs, strict=True):
                        net.run_step(step, xs)
            norms = []
        last = [point in step.unused and point != IMAGE for point in step.sources]
        read = [
            _emptied(values[point]) if done else iter(kept)
            for point, kept, done in zip(step.sources, inputs, last, strict=True)
        ]
        with _measuring(*norms):
            found = [net.run_step(step, xs) for xs in zip(*read, strict=True)]
        for point in (step.layer.name, *step.taps):
            values[point] = deque(taps[point] for taps in found)  # type: ignore[misc]
        for point in step.unused:
            values.pop(point, None)


class _Statistics:
    """A hook before a batch norm, which takes on the statistics of all inputs that the hook has seen."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())  # squares: sum of squared deviations from the mean; float64 (C,)

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        [x] = inputs  # (B, C, H, W)
        channels, area = x.shape[1], x.shape[2] * x.shape[3]
        for part in x.split(max(1, POSITIONS // area)):
            # Mean and biased variance (C,) by the kernel of batch norms in training, far faster than torch.var_mean.
            mean, var = torch.batch_norm_update_stats(part, None, None, 0.0)
            # Merges means and squared deviations (Chan et al. 1979), without cancellation for any split.
            count = len(part) * area
            total, delta = self.count + count, mean.double() - self.mean
            self.squares = self.squares + var.double() * count + delta**2 * (self.count * count / total)
            self.mean, self.count = self.mean + delta * (count / total), total
        norm.get_buffer("running_mean")[:channels] = self.mean
        norm.get_buffer("running_var")[:channels] = self.squares / self.count


@contextmanager
def _measuring(*norms: BatchNorm) -> Iterator[None]:
    """Inside the block, these batch norms measure what they see."""
    handles = [norm.register_forward_pre_hook(_Statistics()) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _emptied(chunks: deque[Tensor]) -> Iterator[Tensor]:
    """The chunks; each is forgotten when the next one is asked for."""
    while chunks:
        yield chunks.popleft()
