"""Channel sorting: the most important middle channels first, before narrower blocks are trained.

Once-for-All, section 3.4 (https://arxiv.org/abs/1908.09791): a narrower block keeps the channels with the largest L1 norm.
Widths are prefixes, so the channels are sorted once, when a phase with new expand ratios begins. Importance is that of the
published code (`re_organize_middle_weights`): the L1 norm of the next convolution's weights, for each input channel.

A trained width must keep its channels as its prefix. So channels are sorted only within the bands between supported
widths; with one supported width, all channels are sorted. No supported sub-network changes its output.
"""

import torch

from ofa_core.nn.network import SuperNetwork
from ofa_core.nn.part import Part
from ofa_core.run.errors import InputError
from ofa_core.space.base import Space
from ofa_core.space.layer_sums import LayerSum
from ofa_core.space.layers import Layer


@torch.no_grad()
def sort_channels(net: SuperNetwork, supports: Space) -> None:
    """Sorts the middle channels of all elastic blocks in place, by descending importance within each band.

    supports: the part of the network's space that is trained so far, with the largest choice of everything.

    Per-channel state outside the network, such as an optimiser's momentum, is not sorted.
    Raises InputError if the largest network is not supported.
    """
    if supports.largest() != net.space.largest():
        raise InputError("supports: the largest network is not among those trained")
    elastic = {slot.name for slot in net.space.slots if any(net.space.genes[gene].field == "e" for gene in slot.genes)}
    forms = supported_forms(supports)
    for name in elastic:
        part = net.parts[name]
        assert isinstance(part, Part)
        part.sort_channels(forms[name])


def supported_forms(space: Space) -> dict[str, list[Layer]]:
    """All distinct forms of every layer of a space by name, at its smallest resolution."""
    forms: dict[str, list[Layer]] = {}

    def collect(layer: Layer) -> float:
        forms.setdefault(layer.name, []).append(layer)
        return 0.0

    LayerSum(space, collect).tables(space.resolutions[0])
    return forms
