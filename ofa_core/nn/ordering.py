"""Orders channels by importance and permutes weights to match."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ofa_core.nn.batchnorm import BatchNorm


def sorted_order(importance: Tensor, widths: Iterable[int]) -> Tensor:
    """The order (C,) of channels: by descending importance within each band between supported widths.

    importance: (C,). widths: the channel counts that supported sub-networks use.
    """
    band = np.searchsorted(sorted(set(widths)), np.arange(len(importance)), side="right")  # (C,)
    # The last key is the primary one. The sort is stable, so equal channels keep their order.
    order = np.lexsort((-importance.double().cpu().numpy(), band))
    return torch.from_numpy(order).to(importance.device)


def importance(weight: Tensor) -> Tensor:  # (out, in, k, k) -> (in,)
    """The L1 norm of a convolution's weights for each of its input channels."""
    return weight.abs().sum(dim=(0, 2, 3))


def permute_norm(order: Tensor, norm: BatchNorm) -> None:
    """Reorders a batch norm's channels by `order` (C,), in place."""
    permute(order, 0, norm.weight, norm.bias, norm.running_mean, norm.running_var)


def permute(order: Tensor, axis: int, *tensors: Tensor | None) -> None:
    """Reorders each tensor along an axis by `order`, in place."""
    for tensor in tensors:
        assert tensor is not None
        tensor.copy_(tensor.index_select(axis, order))
