"""The elastic ResNet-D bottleneck: 1x1, 3x3, 1x1, with an average-pool and 1x1 shortcut where shapes change.

Bag of Tricks for Image Classification (He et al., 2018, https://arxiv.org/abs/1812.01187), "ResNet-D"; elastic in
width and expand ratio as in mit-han-lab/once-for-all.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.elastic import ConvBN
from ofa_core.nn.ordering import importance, permute, permute_norm, sorted_order
from ofa_core.nn.part import Part, Taps, tap
from ofa_core.nn.slices import State, activate, submodule_state
from ofa_core.space.layers import Layer


class Bottleneck(Part):
    """A bottleneck layer. `layer` is the record of its largest form."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        assert layer.bn_eps is not None
        self.reduce = ConvBN(layer.inp, layer.mid, 1, layer.bn_eps)
        self.spatial = ConvBN(layer.mid, layer.mid, layer.kernel, layer.bn_eps)
        self.restore = ConvBN(layer.mid, layer.out, 1, layer.bn_eps)
        self.shortcut = None if layer.residual else ConvBN(layer.inp, layer.out, 1, layer.bn_eps)

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        name = layer.name
        y = tap(taps, f"{name}.reduce", activate(self.reduce(x, layer.mid), layer.act))
        y = tap(taps, f"{name}.spatial", activate(self.spatial(y, layer.mid, layer.stride, layer.padding), layer.act))
        y = tap(taps, f"{name}.restore", self.restore(y, layer.out))
        if self.shortcut is not None:
            if layer.stride > 1:
                x = F.avg_pool2d(x, layer.stride, layer.stride, ceil_mode=True)
            x = tap(taps, f"{name}.shortcut", self.shortcut(x, layer.out))
        return activate(x + y, layer.act)

    def sliced(self, layer: Layer) -> State:
        state = submodule_state("reduce", self.reduce.sliced(layer.inp, layer.mid))
        state |= submodule_state("spatial", self.spatial.sliced(layer.mid, layer.mid))
        state |= submodule_state("restore", self.restore.sliced(layer.mid, layer.out))
        if self.shortcut is not None:
            state |= submodule_state("shortcut", self.shortcut.sliced(layer.inp, layer.out))
        return state

    @torch.no_grad()
    def sort_channels(self, forms: Sequence[Layer]) -> None:
        # The maps before and after the 3x3 convolution are sorted separately.
        widths = [layer.mid for layer in forms]
        order = sorted_order(importance(self.restore.weight), widths)
        permute(order, 1, self.restore.weight)
        permute(order, 0, self.spatial.weight)
        permute_norm(order, self.spatial.bn)
        order = sorted_order(importance(self.spatial.weight), widths)
        permute(order, 1, self.spatial.weight)
        permute(order, 0, self.reduce.weight)
        permute_norm(order, self.reduce.bn)

    @property
    def last_norm(self) -> BatchNorm:
        return self.restore.bn
