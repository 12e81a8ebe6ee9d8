"""TFLite's integer grids on float tensors: values are rounded to what 8 bits can hold.

Weights: int8 in -127..127, symmetric, scale max|w| / 127 per output channel. Activations: int8 in -128..127, one scale
and zero point per tensor. These come from a range (low, high) that holds zero exactly (Jacob et al. 2018, section
3.1, https://arxiv.org/abs/1712.05877; TFLite's quantisation specification). Gradients pass straight through the rounding
(Bengio et al. 2013, https://arxiv.org/abs/1308.3432) and are zero where a value was clipped.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

LEVELS = 255
"""Steps between the extremes of 8 bits."""
WEIGHT_LIMIT = 127
LEAST_WEIGHT = 5e-7
"""The converter's lower limit for a channel's largest weight."""


class Grid(NamedTuple):
    """A range's grid. scale: float32 (...). zero_point: int32 (...). low, high: the values of -128 and 127."""

    scale: Tensor
    zero_point: Tensor
    low: Tensor
    high: Tensor


def grid(low: Tensor, high: Tensor) -> Grid:
    """The int8 grid of ranges, low and high float (...): widened to hold zero, then moved so that zero is an integer.

    From the returned `low` and `high` the converter makes the same scale and zero point, bit for bit. A range of width zero
    gets scale 1.
    """
    low, high = low.detach().double().clamp(max=0), high.detach().double().clamp(min=0)
    scale = (high - low) / LEVELS
    scale = torch.where(scale > 0, scale, 1.0)
    zero_point = (-128 - low / scale).round().clamp(-128, 127)
    # The converter is given float32 bounds, and subtracts them in float32.
    low, high = ((-128 - zero_point) * scale).float(), ((127 - zero_point) * scale).float()
    return Grid((high - low) / LEVELS, zero_point.int(), low, high)


def quantize_activation(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x on the grid of the range (low, high), both of shape (). Bounds that need gradients get them.

    The gradients of the bounds are those of learned step sizes (LSQ, https://arxiv.org/abs/1902.08153, section 2.1) with
    scale = (high - low) / 255: a clipped value adds to its bound, a rounded one by its rounding error.
    """
    if low.requires_grad or high.requires_grad:
        return _Learned.apply(x.float(), low, high)
    found = grid(low, high)
    return torch.fake_quantize_per_tensor_affine(x.float(), found.scale, found.zero_point, -128, 127)


def weight_scales(weight: Tensor) -> Tensor:
    """The scale of each output channel (out,) of weights (out, ...)."""
    return weight.detach().flatten(1).abs().amax(1).clamp(min=LEAST_WEIGHT) / WEIGHT_LIMIT


def quantize_weight(weight: Tensor) -> Tensor:
    """Weights (out, ...) rounded to 8 bits per output channel."""
    scales = weight_scales(weight)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight.float(), scales, zeros, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)


class _Learned(torch.autograd.Function):
    """Fake quantisation whose bounds get gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        found = grid(low, high)
        y = torch.fake_quantize_per_tensor_affine(x, found.scale, found.zero_point, -128, 127)
        ctx.save_for_backward(x, y, found.low, found.high)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, low, high = ctx.saved_tensors
        half = (high - low) / (2 * LEVELS)
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        inside = gradient.masked_fill((x < low - half) | (x > high + half), 0)
        clipped = gradient - inside
        rounding = _dot(inside, y - x) / (high - low)
        # A clipped value equals one of the bounds: sum(clipped * y) is at_low * low + at_high * high.
        total = clipped.sum()
        at_high = (_dot(clipped, y) - low * total) / (high - low)
        return inside, total - at_high - rounding, at_high + rounding


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products (), without an array of them. Convolutions leave their output channels last."""
    if a.dim() == 4:
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))
