"""Depthwise convolution with an exact gradient that is fast on CPUs.

oneDNN, torch's CPU library, has fast code for the weight gradient only where the kernel has three columns and no more rows
than the map. A 5x5 or 7x7 kernel takes ten to thirty times as long as a 3x3 one. But the columns of a kernel are independent
in its gradient, so this module computes three at a time, from shifted inputs. Rows that a map lacks are filled with zeros.
benchmarks/train_step.py measures the gain.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_core.nn.part import convolve
from ofa_core.space.ops import Padding, pads

COLUMN_GROUPS = {5: (-2, 1), 7: (-4, -1, 2)}
"""By kernel size: the first column of each group of three, from the centre. Columns beyond the kernel are cut off."""


def depthwise_conv(x: Tensor, weight: Tensor, stride: int, padding: Padding = "symmetric") -> Tensor:
    """Convolves every channel with its own kernel: x (B, C, H, W), weight (C, 1, k, k) -> (B, C, H/stride, W/stride)."""
    half = weight.shape[-1] // 2
    trained = weight.requires_grad and torch.is_grad_enabled()
    if not trained or pads(padding, x.shape[-1], weight.shape[-1], stride) != (half, half):
        return convolve(x, weight, None, stride, padding, groups=x.shape[1])
    side = min(weight.shape[-1], 2 * min(x.shape[2:]) - 1)
    if side < weight.shape[-1]:  # on a small map the outer taps see only padding
        cut = (weight.shape[-1] - side) // 2
        weight = weight[:, :, cut : cut + side, cut : cut + side]
    if stride == 1 and side in COLUMN_GROUPS and x.device.type == "cpu":
        return _ByColumns.apply(x, weight)
    return F.conv2d(x, weight, stride=stride, padding=side // 2, groups=x.shape[1])


class _ByColumns(torch.autograd.Function):
    """Depthwise convolution with stride 1 on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x = (
            _gradients(x, weight, gradient, (weight.shape[-1] // 2,) * 2, (True, False))[0] if ctx.needs_input_grad[0] else None
        )
        return for_x, _weight_gradient(x, gradient, weight.shape[-1])


def _weight_gradient(x: Tensor, gradient: Tensor, side: int) -> Tensor:  # -> (C, 1, side, side)
    offsets, half = COLUMN_GROUPS[side], side // 2
    rows = max(0, side - x.shape[2])
    if rows:
        x, gradient = F.pad(x, (0, 0, 0, rows)), F.pad(gradient, (0, 0, 0, rows))
    columns = x.new_empty(x.shape[1], 1, side, 3)  # only its shape counts
    parts = []
    for offset in offsets:
        if offset == -1:
            part = _gradients(x, columns, gradient, (half, 1), (False, True))[1]
        else:
            part = _gradients(F.pad(x, (-offset, offset + 2)), columns, gradient, (half, 0), (False, True))[1]
        parts.append(part)
    first = -half - offsets[0]
    return torch.cat(parts, dim=3)[..., first : first + side]


def _gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, padding: tuple[int, int], wanted: tuple[bool, bool]
) -> list[Tensor]:
    """torch's gradients of a stride-1 depthwise convolution, for the input and the weights; only those `wanted`."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], list(padding), [1, 1], False, [0, 0], x.shape[1], [*wanted, False]
    )
