"""The elastic ResNet-D bottleneck: 1x1, 3x3, 1x1, with an average-pool and 1x1 shortcut where shapes change.

Bag of Tricks for Image Classification (He et al., 2018, https://arxiv.org/abs/1812.01187), "ResNet-D"; elastic in
width and expand ratio as in mit-han-lab/once-for-all.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.elastic import ConvBN
from ofa_core.nn.slices import State, activate, submodule_state
from ofa_core.space.layers import Layer


class Bottleneck(nn.Module):
    """A layer of kind bottleneck; `layer` is the record of its largest form."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        assert layer.bn_eps is not None
        self.reduce = ConvBN(layer.inp, layer.mid, 1, layer.bn_eps)
        self.spatial = ConvBN(layer.mid, layer.mid, layer.kernel, layer.bn_eps)
        self.restore = ConvBN(layer.mid, layer.out, 1, layer.bn_eps)
        self.shortcut = None if layer.residual else ConvBN(layer.inp, layer.out, 1, layer.bn_eps)

    def forward(self, x: Tensor, layer: Layer) -> Tensor:  # (B, inp, H, W) -> (B, out, H/stride, W/stride)
        y = activate(self.reduce(x, layer.mid), layer.act)
        y = activate(self.spatial(y, layer.mid, layer.stride), layer.act)
        y = self.restore(y, layer.out)
        if self.shortcut is not None:
            if layer.stride > 1:
                x = F.avg_pool2d(x, layer.stride, layer.stride, ceil_mode=True)
            x = self.shortcut(x, layer.out)
        return activate(x + y, layer.act)

    def sliced(self, layer: Layer) -> State:
        state = submodule_state("reduce", self.reduce.sliced(layer.inp, layer.mid))
        state |= submodule_state("spatial", self.spatial.sliced(layer.mid, layer.mid))
        state |= submodule_state("restore", self.restore.sliced(layer.mid, layer.out))
        if self.shortcut is not None:
            state |= submodule_state("shortcut", self.shortcut.sliced(layer.inp, layer.out))
        return state
