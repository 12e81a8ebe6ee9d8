"""Channel sorting: the most important middle channels first, before narrower blocks are trained.

Once-for-All, section 3.4 (https://arxiv.org/abs/1908.09791): a narrower block keeps the channels with the largest L1 norm. As
widths are prefixes, the channels are sorted once when a phase with new expand ratios begins. Importance as in the published
code (`re_organize_middle_weights`): the L1 norm of the following convolution's weights, for each of its input channels.

The channels that an already trained width uses must stay its prefix, so channels are sorted inside the bands between
supported widths only; with one supported width this is a sort of all channels. No supported sub-network changes its output.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.bottleneck import Bottleneck
from ofa_core.nn.mbconv import MBConv, SqueezeExcite
from ofa_core.nn.network import SuperNetwork
from ofa_core.space.base import Space
from ofa_core.space.layers import Layer


@torch.no_grad()
def sort_channels(net: SuperNetwork, supported_expand_ratios: Sequence[float]) -> None:
    """Sorts the middle channels of all elastic blocks in place, by descending importance inside every band of channels.

    supported_expand_ratios: those trained so far, the largest among them. In ofa_resnet50 every width index counts as trained.

    State outside the network that belongs to single channels (an optimiser's momentum) does not move along.
    Raises ValueError when a ratio is not of the space, or the largest is missing.
    """
    choices = sorted({choice for gene in net.space.genes if gene.field == "e" for choice in gene.choices})
    if not set(supported_expand_ratios) <= set(choices) or choices[-1] not in supported_expand_ratios:
        shown = ", ".join(map(str, choices))
        raise ValueError(f"supported_expand_ratios: {list(supported_expand_ratios)} are not of {shown}, or lack {choices[-1]}")
    elastic = {slot.name for slot in net.space.slots if any(net.space.genes[gene].field == "e" for gene in slot.genes)}
    forms = supported_forms(net.space, supported_expand_ratios)
    for name in elastic:
        block, layers = net.parts[name], forms[name]
        if isinstance(block, MBConv):
            _sort_mbconv(block, layers)
        else:
            assert isinstance(block, Bottleneck)
            _sort_bottleneck(block, layers)


def supported_forms(space: Space, expand_ratios: Iterable[float]) -> dict[str, list[Layer]]:
    """Every layer of the deepest network by name, once for each of the expand ratios (and each width of ofa_resnet50)."""
    deepest = space.largest()
    archs = [replace(deepest, e=(ratio,) * len(deepest.e)) for ratio in expand_ratios]
    if deepest.w is not None:
        archs = [replace(arch, w=(width,) * len(deepest.w)) for arch in archs for width in range(max(deepest.w) + 1)]
    forms: dict[str, list[Layer]] = {}
    for arch in archs:
        for layer in space.layers(arch):
            forms.setdefault(layer.name, []).append(layer)
    return forms


def sorted_order(importance: Tensor, widths: Iterable[int]) -> Tensor:
    """The order (C,) of channels by descending importance inside the bands that the supported widths leave.

    importance: (C,). widths: numbers of leading channels that some supported sub-network uses.
    """
    band = np.searchsorted(sorted(set(widths)), np.arange(len(importance)), side="right")  # (C,)
    # The last key is the first criterion; the sort is stable, so equal channels keep their order.
    order = np.lexsort((-importance.double().cpu().numpy(), band))
    return torch.from_numpy(order).to(importance.device)


def _sort_mbconv(block: MBConv, layers: Sequence[Layer]) -> None:
    order = sorted_order(_importance(block.project.weight), (layer.mid for layer in layers))
    _permute(order, 1, block.project.weight)
    _permute(order, 0, block.depthwise.weight)  # the kernel matrices are shared by all channels
    _permute_norm(order, block.depthwise.bn)
    if block.se is not None:
        _permute(order, 1, block.se.reduce.weight)
        _permute(order, 0, block.se.expand.weight, block.se.expand.bias)
        _sort_squeezed(block.se, layers)
    if block.expand is not None:
        _permute(order, 0, block.expand.weight)
        _permute_norm(order, block.expand.bn)


def _sort_squeezed(se: SqueezeExcite, layers: Sequence[Layer]) -> None:
    """The squeezed width follows the block's, so it is sorted in bands too."""
    order = sorted_order(_importance(se.expand.weight), (layer.se for layer in layers))
    _permute(order, 1, se.expand.weight)
    _permute(order, 0, se.reduce.weight, se.reduce.bias)


def _sort_bottleneck(block: Bottleneck, layers: Sequence[Layer]) -> None:
    """Both middle maps, the one before and the one after the 3x3 convolution, are sorted on their own."""
    widths = [layer.mid for layer in layers]
    order = sorted_order(_importance(block.restore.weight), widths)
    _permute(order, 1, block.restore.weight)
    _permute(order, 0, block.spatial.weight)
    _permute_norm(order, block.spatial.bn)
    order = sorted_order(_importance(block.spatial.weight), widths)
    _permute(order, 1, block.spatial.weight)
    _permute(order, 0, block.reduce.weight)
    _permute_norm(order, block.reduce.bn)


def _importance(weight: Tensor) -> Tensor:  # (out, in, k, k) -> (in,)
    return weight.abs().sum(dim=(0, 2, 3))


def _permute_norm(order: Tensor, norm: BatchNorm) -> None:
    _permute(order, 0, norm.weight, norm.bias, norm.running_mean, norm.running_var)


def _permute(order: Tensor, axis: int, *tensors: Tensor | None) -> None:
    for tensor in tensors:
        assert tensor is not None
        tensor.copy_(tensor.index_select(axis, order))
