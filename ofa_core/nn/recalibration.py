"""Batch norm recalibration: the statistics of one sub-network, exact over a set of images.

Sub-networks share batch norms whose running averages belong to none of them, so before a sub-network is evaluated its
statistics are measured anew (Once-for-All's code does so over 2,000 training images, batch by batch). Here the result is
the mean and biased variance over all positions of all images, as if they were one batch: it does not depend on
how they are split into batches, nor on the averages before.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm, Collector, IncompleteError
from ofa_core.nn.network import Network


@torch.no_grad()
def recalibrate(net: Network, batches: Sequence[Tensor]) -> None:
    """Sets the batch norm statistics of the active sub-network to those of the given images, and eval mode.

    net: a super-network, of which only the channels of the active sub-network change, or a stand-alone network.
    batches: image batches (B, 3, r, r) at the active resolution; kept and used several times over, so pass a list.

    Each layer sees all batches before the next one runs. One batch costs one forward pass; with more, a layer is run once for
    each of its batch norms. Holds one activation of all images at a time. Raises ValueError without images.
    """
    if not len(batches):
        raise ValueError("recalibrate: no images")
    net.eval()
    xs: list[Tensor] = list(batches)
    for layer in net.active:
        part = net.parts[layer.name]
        norms = [module for module in part.modules() if isinstance(module, BatchNorm)]
        for norm in norms:
            norm.collector = Collector(len(xs))
        try:
            _run_layer(part, layer, xs, norms)
        finally:
            for norm in norms:
                norm.collector = None


def _run_layer(part: nn.Module, layer: object, xs: list[Tensor], norms: list[BatchNorm]) -> None:
    """Replaces every batch in `xs` by the layer's output, going round until no batch norm waits any more."""
    waiting = list(range(len(xs)))
    while waiting:
        still = []
        for i in waiting:
            for norm in norms:
                assert norm.collector is not None
                norm.collector.current = i
            try:
                xs[i] = part(xs[i], layer)
            except IncompleteError:
                still.append(i)
        waiting = still
