"""Building blocks of elastic networks: convolutions and linear layers that run on a prefix of their channels.

Every module is built at its largest size. `forward` takes the sizes to use and computes on the leading channels of its
weights, so one set of weights serves every sub-network. At full size it is an ordinary layer.
`sliced` returns a copy of the state of an ordinary layer of the given size.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.part import Part, Taps, convolve, tap
from ofa_core.nn.slices import State, activate, prefix, submodule_state
from ofa_core.space.layers import Layer
from ofa_core.space.ops import Padding, pads

PREDICTION_DEVIATION = 0.03
"""Of the weights of predicting convolutions at the start."""


class ConvBN(nn.Module):
    """Convolution without bias, then batch norm; no activation.

    Initialised as in the once-for-all code: normal with deviation sqrt(2 / (k * k * out)) ("he_fout").
    """

    def __init__(self, inp: int, out: int, kernel: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inp, kernel, kernel) * math.sqrt(2 / (kernel * kernel * out)))
        self.bn = BatchNorm(out, eps)

    def forward(self, x: Tensor, out: int, stride: int = 1, padding: Padding = "symmetric") -> Tensor:
        """(B, inp, H, W) -> (B, out, H/stride, W/stride)."""
        return self.bn(convolve(x, prefix(self.weight, out, x.shape[1]), None, stride, padding))

    def sliced(self, inp: int, out: int) -> State:
        return {"weight": self.weight.detach()[:out, :inp].clone()} | submodule_state("bn", self.bn.sliced(out))


class ConvBias(nn.Module):
    """Convolution with bias; no batch norm. It predicts: SSD's heads.

    Initialised with normal weights of deviation 0.03 and zero bias, as TensorFlow's SSD configurations are.
    """

    def __init__(self, inp: int, out: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inp, kernel, kernel) * PREDICTION_DEVIATION)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, out: int, stride: int = 1, padding: Padding = "symmetric") -> Tensor:
        """(B, inp, H, W) -> (B, out, H/stride, W/stride)."""
        return convolve(x, prefix(self.weight, out, x.shape[1]), prefix(self.bias, out), stride, padding)

    def sliced(self, inp: int, out: int) -> State:
        return {"weight": self.weight.detach()[:out, :inp].clone(), "bias": self.bias.detach()[:out].clone()}


class Conv(Part):
    """A conv layer: convolution, batch norm or bias, activation. With `residual`, the input is added."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.conv: ConvBN | ConvBias
        if layer.bn_eps is None:
            self.conv = ConvBias(layer.inp, layer.out, layer.kernel)
        else:
            self.conv = ConvBN(layer.inp, layer.out, layer.kernel, layer.bn_eps)

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        y = activate(self.conv(x, layer.out, layer.stride, layer.padding), layer.act)
        return x + tap(taps, f"{layer.name}.conv", y) if layer.residual else y

    def sliced(self, layer: Layer) -> State:
        return submodule_state("conv", self.conv.sliced(layer.inp, layer.out))


class Linear(Part):
    """A linear layer: weights, a bias if the record has one, activation. Initialised like torch's own."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        bound = 1 / math.sqrt(layer.inp)
        self.weight = nn.Parameter(torch.empty(layer.out, layer.inp).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(layer.out)) if layer.bias else None

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:  # (B, inp) -> (B, out)
        bias = None if self.bias is None else prefix(self.bias, layer.out)
        return activate(F.linear(x, prefix(self.weight, layer.out, layer.inp), bias), layer.act)

    def sliced(self, layer: Layer) -> State:
        state = {"weight": self.weight.detach()[: layer.out, : layer.inp].clone()}
        return state if self.bias is None else state | {"bias": self.bias.detach()[: layer.out].clone()}


class Pool(Part):
    """Layers of kind maxpool (B, C, H, W) -> (B, C, H/2, W/2) and avgpool (B, C, H, W) -> (B, C)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        return max_pool(x, layer.kernel, layer.stride, layer.padding) if layer.kind == "maxpool" else x.mean(dim=(2, 3))


class Join(Part):
    """Layers of kind join: maps [(B, C, H, W), ...] -> (B, rows, out)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()

    def forward(self, x: Sequence[Tensor], layer: Layer, taps: Taps | None = None) -> Tensor:  # type: ignore[override]
        rows = join(x, layer.out)
        if layer.act != "sigmoid":
            return activate(rows, layer.act)
        return tap(taps, f"{layer.name}.logits", rows).sigmoid()


def join(maps: Sequence[Tensor], values: int) -> Tensor:
    """Maps (B, C, H, W) as rows (B, rows, values), position by position as with channels last, map after map."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, values) for x in maps], dim=1)


def max_pool(x: Tensor, kernel: int, stride: int, padding: Padding) -> Tensor:  # (B, C, H, W) -> (B, C, H/stride, W/stride)
    """The largest value of each window; padding is ignored."""
    before, after = pads(padding, x.shape[-1], kernel, stride)
    if before != after:
        x, before = F.pad(x, (before, after, before, after), value=-torch.inf), 0
    return F.max_pool2d(x, kernel, stride, before)
