"""The elastic mobile inverted bottleneck: kernel, width and squeeze-excite follow the active layer record.

Once-for-All, section 3.3 (https://arxiv.org/abs/1908.09791). A smaller kernel is the centre of the next larger one, multiplied
by a matrix that all channels of the layer share; kernels are derived in a chain 7 -> 5 -> 3.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.depthwise import depthwise_conv
from ofa_core.nn.elastic import ConvBN
from ofa_core.nn.ordering import importance, permute, permute_norm, sorted_order
from ofa_core.nn.part import Part, Taps, tap
from ofa_core.nn.slices import State, activate, prefix, submodule_state
from ofa_core.space.layers import Layer
from ofa_core.space.ops import Padding


class Depthwise(nn.Module):
    """Depthwise convolution with an elastic kernel, then batch norm.

    kernels: the sizes it can take, ascending; the weights have the largest. One size makes it an ordinary layer.
    The matrices start as the identity, so a smaller kernel starts as the centre of the larger.
    """

    def __init__(self, channels: int, kernels: Sequence[int], eps: float) -> None:
        super().__init__()
        self.kernels = tuple(kernels)
        largest = self.kernels[-1]
        self.weight = nn.Parameter(torch.randn(channels, 1, largest, largest) * math.sqrt(2 / (largest**2 * channels)))
        for large, small in self.steps(self.kernels[0]):
            self.register_parameter(f"matrix_{large}to{small}", nn.Parameter(torch.eye(small * small)))
        self.bn = BatchNorm(channels, eps)

    def steps(self, kernel: int) -> list[tuple[int, int]]:
        """The chain of (larger, smaller) sizes that leads from the largest kernel to `kernel`."""
        sizes = [size for size in reversed(self.kernels) if size >= kernel]
        return list(pairwise(sizes))

    def kernel_weight(self, kernel: int, channels: int) -> Tensor:
        """The weights (channels, 1, kernel, kernel) of a kernel size."""
        weight = prefix(self.weight, channels)
        for large, small in self.steps(kernel):
            cut = (large - small) // 2
            centre = weight[:, :, cut : cut + small, cut : cut + small].reshape(channels, small * small)
            # The published matrices are stored like a linear layer's: row times matrix transposed.
            weight = F.linear(centre, self.get_parameter(f"matrix_{large}to{small}")).view(channels, 1, small, small)
        return weight

    def forward(self, x: Tensor, kernel: int, stride: int, padding: Padding = "symmetric") -> Tensor:
        """(B, C, H, W) -> (B, C, H/stride, W/stride)."""
        return self.bn(depthwise_conv(x, self.kernel_weight(kernel, x.shape[1]), stride, padding))

    def sliced(self, channels: int, kernel: int) -> State:
        weight = self.kernel_weight(kernel, channels).detach().clone()
        return {"weight": weight} | submodule_state("bn", self.bn.sliced(channels))


class DepthwiseLayer(Part):
    """A depthwise layer: depthwise convolution, batch norm, activation."""

    def __init__(self, layer: Layer, kernels: Sequence[int]) -> None:
        super().__init__()
        assert layer.bn_eps is not None
        self.depthwise = Depthwise(layer.inp, kernels, layer.bn_eps)

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        return activate(self.depthwise(x, layer.kernel, layer.stride, layer.padding), layer.act)

    def sliced(self, layer: Layer) -> State:
        return submodule_state("depthwise", self.depthwise.sliced(layer.inp, layer.kernel))


class SqueezeExcite(nn.Module):
    """Channel gates from pooled features: reduce, ReLU, expand, hard sigmoid (MobileNetV3's form)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor, squeezed: int) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        c = x.shape[1]
        gate = x.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        gate = F.conv2d(gate, prefix(self.reduce.weight, squeezed, c), prefix(self.reduce.bias, squeezed))  # type: ignore[arg-type]
        gate = F.conv2d(F.relu(gate), prefix(self.expand.weight, c, squeezed), prefix(self.expand.bias, c))  # type: ignore[arg-type]
        return x * F.hardsigmoid(gate)

    def sliced(self, channels: int, squeezed: int) -> State:
        state = {"reduce.weight": self.reduce.weight[:squeezed, :channels], "reduce.bias": self.reduce.bias[:squeezed]}  # type: ignore[index]
        state |= {"expand.weight": self.expand.weight[:channels, :squeezed], "expand.bias": self.expand.bias[:channels]}  # type: ignore[index]
        return {name: tensor.detach().clone() for name, tensor in state.items()}


class MBConv(Part):
    """An mbconv layer.

    layer: the record of its largest form. kernels: the sizes its depthwise convolution can take, ascending.
    """

    def __init__(self, layer: Layer, kernels: Sequence[int]) -> None:
        super().__init__()
        assert layer.bn_eps is not None
        self.expand = None if layer.mid == layer.inp else ConvBN(layer.inp, layer.mid, 1, layer.bn_eps)
        self.depthwise = Depthwise(layer.mid, kernels, layer.bn_eps)
        self.se = SqueezeExcite(layer.mid, layer.se) if layer.se else None
        self.project = ConvBN(layer.mid, layer.out, 1, layer.bn_eps)

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        y, name = x, layer.name
        if self.expand is not None:
            y = tap(taps, f"{name}.expand", activate(self.expand(x, layer.mid), layer.act))
        y = self.depthwise(y, layer.kernel, layer.stride, layer.padding)
        # As in once-for-all's MobileNetV3: activation first, then squeeze-excite.
        y = tap(taps, f"{name}.depthwise", activate(y, layer.act))
        if self.se is not None:
            y = tap(taps, f"{name}.se", self.se(y, layer.se))
        y = self.project(y, layer.out)
        return x + tap(taps, f"{name}.project", y) if layer.residual else y

    def sliced(self, layer: Layer) -> State:
        state: State = {}
        if self.expand is not None:
            state |= submodule_state("expand", self.expand.sliced(layer.inp, layer.mid))
        state |= submodule_state("depthwise", self.depthwise.sliced(layer.mid, layer.kernel))
        if self.se is not None:
            state |= submodule_state("se", self.se.sliced(layer.mid, layer.se))
        return state | submodule_state("project", self.project.sliced(layer.mid, layer.out))

    @torch.no_grad()
    def sort_channels(self, forms: Sequence[Layer]) -> None:
        if self.expand is None:
            return  # its middle channels are its input, whose order belongs to the layer before
        order = sorted_order(importance(self.project.weight), (layer.mid for layer in forms))
        permute(order, 1, self.project.weight)
        permute(order, 0, self.depthwise.weight)  # the kernel matrices are shared by all channels
        permute_norm(order, self.depthwise.bn)
        if self.se is not None:
            permute(order, 1, self.se.reduce.weight)
            permute(order, 0, self.se.expand.weight, self.se.expand.bias)
            # The squeezed width follows the block's, so its channels are sorted in bands too.
            squeezed = sorted_order(importance(self.se.expand.weight), (layer.se for layer in forms))
            permute(squeezed, 1, self.se.expand.weight)
            permute(squeezed, 0, self.se.reduce.weight, self.se.reduce.bias)
        permute(order, 0, self.expand.weight)
        permute_norm(order, self.expand.bn)

    @property
    def last_norm(self) -> BatchNorm:
        return self.project.bn
