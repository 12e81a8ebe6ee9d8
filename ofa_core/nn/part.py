"""The base of all layers in torch: an elastic module that takes the record of its current form."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.slices import State
from ofa_core.space.layers import Layer
from ofa_core.space.ops import Padding, pads

Taps = dict[str, Tensor | None]
"""Points inside a layer that others read, by name; the layer fills them in."""


class Part(nn.Module):
    """The elastic module of one layer, built at its largest size.

    The record sets the number of leading channels and the kernel size, so one set of weights serves every sub-network.
    `ofa_core.space.layers.lower` defines what each kind of layer computes, and a test compares the two.
    """

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        """(B, inp, H, W) -> (B, out, H/stride, W/stride), or vectors (B, inp) -> (B, out)."""
        raise AssertionError("every kind of layer has its own forward")

    def sliced(self, layer: Layer) -> State:
        """The state of an ordinary layer of this form, copied."""
        return {}

    def sort_channels(self, forms: Sequence[Layer]) -> None:
        """Sorts its inner channels by importance, in place. forms: the forms it was trained in."""

    @property
    def last_norm(self) -> BatchNorm | None:
        """The batch norm whose output a residual is added to, if any."""
        return None


def tap(taps: Taps | None, point: str, x: Tensor) -> Tensor:
    """Keeps `x` if the point is wanted; returns it."""
    if taps and point in taps:
        taps[point] = x
    return x


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: Padding = "symmetric", groups: int = 1
) -> Tensor:
    """Convolution with the padding of a layer record: (B, inp, H, W) -> (B, out, H/stride, W/stride)."""
    before, after = pads(padding, x.shape[-1], weight.shape[-1], stride)
    if before != after:
        x, before = F.pad(x, (before, after, before, after)), 0
    return F.conv2d(x, weight, bias, stride, before, 1, groups)
