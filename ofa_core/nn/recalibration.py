"""Batch norm recalibration: exact statistics of one sub-network over a set of images.

Sub-networks share batch norms, so the running averages fit none of them. A sub-network's statistics are therefore measured
anew before it is evaluated. Once-for-All's code does so over 2,000 training images, batch by batch. Here the result is the
mean and biased variance over all positions of all images, as if they were one batch. It depends neither on the split
into batches nor on earlier averages.
"""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from ofa_core.nn.batchnorm import BatchNorm, Collector, IncompleteError
from ofa_core.nn.network import Network
from ofa_core.nn.part import Taps
from ofa_core.space.graph import Step, plan
from ofa_core.space.ops import IMAGE


@torch.no_grad()
def recalibrate(net: Network, batches: Sequence[Tensor]) -> None:
    """Sets the active sub-network's batch norm statistics to those of the given images. Sets eval mode.

    net: a super-network, where only the active sub-network's channels change, or a stand-alone network.
    batches: image batches (B, 3, r, r) at the active resolution; read several times, so pass a list.

    Each layer sees all batches before the next one runs. One batch costs one forward pass; with more, a layer runs once for
    each of its batch norms. Keeps the activations that later layers read, of all images. Raises ValueError without images.
    """
    if not len(batches):
        raise ValueError("recalibrate: no images")
    net.eval()
    values: dict[str, list[Tensor]] = {IMAGE: list(batches)}
    for step in plan(net.active, net.outputs):
        norms = [module for module in net.parts[step.layer.name].modules() if isinstance(module, BatchNorm)]
        for norm in norms:
            norm.collector = Collector(len(batches))
        try:
            found = _run_step(net, step, values[step.source], norms)
        finally:
            for norm in norms:
                norm.collector = None
        for point in (step.layer.name, *step.taps):
            values[point] = [taps[point] for taps in found]  # type: ignore[misc]
        for point in step.unused:
            del values[point]


def _run_step(net: Network, step: Step, xs: list[Tensor], norms: list[BatchNorm]) -> list[Taps]:
    """A layer's outputs for every batch. Repeats until no batch norm needs more batches."""
    found: dict[int, Taps] = {}
    while len(found) < len(xs):
        for i in range(len(xs)):
            if i in found:
                continue
            for norm in norms:
                assert norm.collector is not None
                norm.collector.current = i
            with suppress(IncompleteError):
                found[i] = net.run_step(step, xs[i])
    return [found[i] for i in range(len(xs))]
