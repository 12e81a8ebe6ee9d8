"""Channel sorting: the most important middle channels first, before narrower blocks are trained.

Once-for-All, section 3.4 (https://arxiv.org/abs/1908.09791): a narrower block keeps the channels with the largest L1 norm.
Widths are prefixes, so the channels are sorted once, when a phase with new expand ratios begins. Importance is that of the
published code (`re_organize_middle_weights`): the L1 norm of the next convolution's weights, for each input channel.

A trained width must keep its channels as its prefix. So channels are sorted only within the bands between supported
widths; with one supported width, all channels are sorted. No supported sub-network changes its output.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from ofa_core.nn.network import SuperNetwork
from ofa_core.nn.part import Part
from ofa_core.space.base import Space
from ofa_core.space.layers import Layer


@torch.no_grad()
def sort_channels(net: SuperNetwork, supported_expand_ratios: Sequence[float]) -> None:
    """Sorts the middle channels of all elastic blocks in place, by descending importance within each band.

    supported_expand_ratios: those trained so far, including the largest. In ofa_resnet50 every width index counts as trained.

    Per-channel state outside the network, such as an optimiser's momentum, is not sorted.
    Raises ValueError when a ratio is not in the space, or the largest is missing.
    """
    choices = sorted({choice for gene in net.space.genes if gene.field == "e" for choice in gene.choices})
    if not set(supported_expand_ratios) <= set(choices) or choices[-1] not in supported_expand_ratios:
        shown = ", ".join(map(str, choices))
        raise ValueError(f"supported_expand_ratios: {list(supported_expand_ratios)} are not of {shown}, or lack {choices[-1]}")
    elastic = {slot.name for slot in net.space.slots if any(net.space.genes[gene].field == "e" for gene in slot.genes)}
    forms = supported_forms(net.space, supported_expand_ratios)
    for name in elastic:
        part = net.parts[name]
        assert isinstance(part, Part)
        part.sort_channels(forms[name])


def supported_forms(space: Space, expand_ratios: Iterable[float]) -> dict[str, list[Layer]]:
    """Every layer of the deepest network by name, once per expand ratio (and per width of ofa_resnet50)."""
    deepest = space.largest()
    archs = [replace(deepest, e=(ratio,) * len(deepest.e)) for ratio in expand_ratios]
    if deepest.w is not None:
        archs = [replace(arch, w=(width,) * len(deepest.w)) for arch in archs for width in range(max(deepest.w) + 1)]
    forms: dict[str, list[Layer]] = {}
    for arch in archs:
        for layer in space.layers(arch):
            forms.setdefault(layer.name, []).append(layer)
    return forms
