"""A network that computes in float what its full-integer file computes: weights and activations are rounded to 8 bits.

Jacob et al. 2018, section 3 (https://arxiv.org/abs/1712.05877): batch norm is folded into the convolutions before their weights
are rounded, and activations are rounded where the integer file writes them to memory: after the fused activation.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.bottleneck import Bottleneck
from ofa_core.nn.depthwise import depthwise_conv
from ofa_core.nn.elastic import Conv, ConvBN, Linear
from ofa_core.nn.mbconv import Depthwise, MBConv
from ofa_core.nn.network import LayerModule, Network
from ofa_core.nn.slices import activate
from ofa_core.quantization.grid import IMAGE_RANGE, LEVELS, quantize_activation, quantize_weight, weight_scales
from ofa_core.quantization.params import HardSwish
from ofa_core.space.layers import Layer

Ranges = Mapping[str, tuple[float, float]]
"""(low, high) of activations, by point; the points' names are those of the TensorFlow twin (ofa_core/convert/network.py)."""
Visitor = Callable[[str, Tensor], None]
"""(point, x (B, ...))."""

AVERAGE_DECAY = 0.99
"""Weight of the past in the moving averages of ranges, at every step. Jacob et al. take one close to 1, for longer training."""


class FakeQuantized(LayerModule):
    """A stand-alone network with fake quantisation; `network` itself stays an ordinary one and shares its weights.

    network: stays in eval mode; its batch norm statistics are used as they are, also in training. ranges: of every activation;
    None where they are not known yet, then activations are not rounded. hard_swish: which form the integer file will have.
    learn: whether the bounds of ranges get gradients in training; otherwise ranges are moving averages of the batches' smallest
    and largest values. delay: forward passes of training before activations are rounded, while ranges are moving averages in
    either case. keep_float: names of layers that compute in float.

    In eval mode ranges stay as they are. Biases are not rounded: the file has 32 bits for them.
    Raises ValueError for ranges that are not finite, are missing, or name no activation of the network.
    """

    low: Tensor
    high: Tensor
    passes: Tensor

    def __init__(
        self,
        network: Network,
        ranges: Ranges | None = None,
        *,
        hard_swish: HardSwish = "composed",
        learn: bool = False,
        delay: int = 0,
        keep_float: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.network, self.hard_swish, self.delay, self.keep_float = network, hard_swish, delay, frozenset(keep_float)
        self.weights, self.activations = True, False
        """Whether weights, and activations, are rounded."""
        self.visitor: Visitor | None = None
        """Shown every activation, before it is rounded."""
        self.exact = False  # whether the present layer, or pass, rounds nothing
        self.index = {name: i for i, name in enumerate(_points(self))}
        bounds = [(0.0, 0.0)] * len(self.index) if ranges is None else _bounds(ranges, list(self.index))
        self.activations = ranges is not None
        device = next(network.parameters()).device
        # float32 all of them, so that a moving average of the state and an average over processes are defined.
        self.register_buffer("low", torch.tensor([low for low, _ in bounds], device=device))  # (points,)
        self.register_buffer("high", torch.tensor([high for _, high in bounds], device=device))
        self.register_buffer("passes", torch.zeros((), device=device))
        # Logarithms of factors of the bounds, so that a step changes a range by a share of it, and never the side of zero
        # (TQT, https://arxiv.org/abs/1903.08066, section 3).
        zeros = torch.zeros(len(bounds), device=device)
        self.low_shift = nn.Parameter(zeros.clone()) if learn else None
        self.high_shift = nn.Parameter(zeros.clone()) if learn else None

    @property
    def active(self) -> list[Layer]:
        """The layers that run."""
        return self.network.active

    @active.setter
    def active(self, layers: list[Layer]) -> None:
        self.network.active = layers

    def train(self, mode: bool = True) -> Self:
        """As of every module, but for the network inside."""
        super().train(mode)
        self.network.eval()
        return self

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """(low, high) of every activation by point, the image's among them."""
        low, high = self._shifted(slice(None))
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return {"image": IMAGE_RANGE} | dict(zip(self.index, pairs, strict=True))

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, r, r) -> (B, num_classes)
        delayed = not self.activations or (self.training and bool(self.passes < self.delay))
        self.exact, source = delayed, "image"
        x = self._image(x)
        for i, layer in enumerate(self.active):
            if self.network.dropout and layer.name == "classifier":
                x = F.dropout(x, self.network.dropout, self.training)
            kept = layer.name in self.keep_float
            self.exact = delayed or kept
            x = self._layer(x, layer, source)
            source = source if layer.kind == "maxpool" else layer.name
            if kept and not delayed and not any(after.name in self.keep_float for after in self.active[i + 1 : i + 2]):
                self.exact = False
                x = self._round(x, source)
        if self.training:
            self.passes += 1
        return x

    # One method a kind of layer, as in the twin: (B, inp, H, W) -> (B, out, H/stride, W/stride). source: the point of x.

    def _layer(self, x: Tensor, layer: Layer, source: str) -> Tensor:
        part = self.network.parts[layer.name]
        if isinstance(part, Conv):
            return self._conv_layer(x, layer, part)
        if isinstance(part, MBConv):
            return self._mbconv(x, layer, part)
        if isinstance(part, Bottleneck):
            return self._bottleneck(x, layer, part, source)
        if isinstance(part, Linear):
            y = F.linear(x, self._rounded(part.weight, layer), part.bias)
            return self._activate(y, layer, layer.name)
        # The largest of rounded values is one of them; a mean is not.
        return part(x, layer) if layer.kind == "maxpool" else self._point(part(x, layer), layer.name)

    def _conv_layer(self, x: Tensor, layer: Layer, part: Conv) -> Tensor:
        y = self._conv(x, layer, part.conv, layer.stride)
        if not layer.residual:
            return self._activate(y, layer, layer.name)
        return self._point(x + self._activate(y, layer, f"{layer.name}.conv"), layer.name)

    def _mbconv(self, x: Tensor, layer: Layer, part: MBConv) -> Tensor:
        y, name = x, layer.name
        if part.expand is not None:
            y = self._activate(self._conv(x, layer, part.expand), layer, f"{name}.expand")
        y = self._activate(self._depthwise(y, layer, part.depthwise), layer, f"{name}.depthwise")
        if part.se is not None:
            gate = self._point(y.mean(dim=(2, 3), keepdim=True), f"{name}.se.pool")  # (B, mid, 1, 1)
            gate = F.conv2d(gate, self._rounded(part.se.reduce.weight, layer), part.se.reduce.bias)
            gate = self._point(F.relu(gate), f"{name}.se.reduce")  # (B, se, 1, 1)
            gate = F.conv2d(gate, self._rounded(part.se.expand.weight, layer), part.se.expand.bias)
            gate = self._point(F.relu6(gate + 3), f"{name}.se.expand")
            y = self._point(y * self._point(gate / 6, f"{name}.se.gate"), f"{name}.se")
        y = self._conv(y, layer, part.project)
        return self._point(x + self._point(y, f"{name}.project"), name) if layer.residual else self._point(y, name)

    def _bottleneck(self, x: Tensor, layer: Layer, part: Bottleneck, source: str) -> Tensor:
        name = layer.name
        y = self._activate(self._conv(x, layer, part.reduce), layer, f"{name}.reduce")
        y = self._activate(self._conv(y, layer, part.spatial, layer.stride), layer, f"{name}.spatial")
        y = self._point(self._conv(y, layer, part.restore), f"{name}.restore")
        if part.shortcut is not None:
            if layer.stride > 1:
                # TFLite's average pool has the same scale in and out.
                x = self._round(F.avg_pool2d(x, layer.stride, layer.stride, ceil_mode=True), source)
            x = self._point(self._conv(x, layer, part.shortcut), f"{name}.shortcut")
        return self._activate(x + y, layer, name)

    # What the layers are made of.

    def _conv(self, x: Tensor, layer: Layer, part: ConvBN, stride: int = 1) -> Tensor:
        weight, bias = fold(part.weight, part.bn)
        return F.conv2d(x, self._rounded(weight, layer), bias, stride, weight.shape[-1] // 2)

    def _depthwise(self, x: Tensor, layer: Layer, part: Depthwise) -> Tensor:
        weight, bias = fold(part.weight, part.bn)
        return depthwise_conv(x, self._rounded(weight, layer), layer.stride) + bias[:, None, None]

    def _activate(self, x: Tensor, layer: Layer, name: str) -> Tensor:
        """The activation of a layer and its point. Inside a hard swish are more: NAME.sum before it, and NAME.sixth and
        NAME.gate for the factors of the composed form."""
        if layer.act != "h_swish":
            return self._point(activate(x, layer.act), name)
        x = self._point(x, f"{name}.sum")
        if self.hard_swish == "fused":
            return self._point(F.hardswish(x), name)
        sixth = self._point(x / 6, f"{name}.sixth")
        return self._point(sixth * self._point(F.relu6(x + 3), f"{name}.gate"), name)

    def _rounded(self, weight: Tensor, layer: Layer) -> Tensor:
        return quantize_weight(weight) if self.weights and layer.name not in self.keep_float else weight

    def _image(self, x: Tensor) -> Tensor:
        if self.exact:
            return x
        low, high = (x.new_tensor(bound) for bound in IMAGE_RANGE)
        return quantize_activation(x + (high - low) / (2 * LEVELS), low, high)  # bytes as they are

    def _point(self, x: Tensor, name: str) -> Tensor:
        if self.visitor is not None:
            self.visitor(name, x.detach())
        if self.training and (self.low_shift is None or bool(self.passes < self.delay)):
            self._observe(x.detach(), self.index[name])
        return self._round(x, name)

    def _round(self, x: Tensor, name: str) -> Tensor:
        if self.exact:
            return x
        if name == "image":
            return quantize_activation(x, *(x.new_tensor(bound) for bound in IMAGE_RANGE))
        low, high = self._shifted(self.index[name], x.numel() // len(x))
        return quantize_activation(x, low, high)

    def _shifted(self, i: int | slice, features: int = 1) -> tuple[Tensor, Tensor]:
        """The bounds of the i-th point; features: values of an image there."""
        if self.low_shift is None or self.high_shift is None:
            return self.low[i], self.high[i]
        # LSQ, section 2.2: gradients of a step size add up over all values, so they are scaled by their number.
        share = 1 / math.sqrt(features * LEVELS)
        return self.low[i] * _scaled(self.low_shift[i], share).exp(), self.high[i] * _scaled(self.high_shift[i], share).exp()

    def _observe(self, x: Tensor, i: int) -> None:
        """Moves a range towards that of a batch."""
        for average, found in zip((self.low, self.high), x.aminmax(), strict=True):
            average[i].lerp_(found, 1 - AVERAGE_DECAY)


def of_form(ranges: Ranges, hard_swish: HardSwish) -> Ranges:
    """Ranges of a network's composed form for either form: the fused one has none inside, but for the sum."""
    if hard_swish == "composed":
        return ranges
    inner = {
        f"{point.removesuffix('sum')}{factor}" for point in ranges for factor in ("sixth", "gate") if point.endswith(".sum")
    }
    return {point: bounds for point, bounds in ranges.items() if point not in inner}


def fold(weight: Tensor, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weights (out, ...) and bias (out,) of a convolution and the batch norm after it, by the norm's statistics.

    In float64 and rounded once, as export does it, so that scales agree to the last bit.
    """
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()  # (out,)
    bias = norm.bias.double() - norm.running_mean.double() * scale
    return (weight.double() * scale[:, None, None, None]).float(), bias.float()


@torch.no_grad()
def part_scales(network: Network) -> dict[str, Tensor]:
    """The scales (out,) of the weights of every convolution and linear layer of a stand-alone network.

    By layer and part, as `block_1.expand` or `classifier`; parts are named as the submodules.
    """
    found = {}
    for layer in network.active:
        for name, module in network.parts[layer.name].named_modules():
            key = f"{layer.name}.{name}".removesuffix(".")
            if isinstance(module, ConvBN | Depthwise):
                found[key] = weight_scales(fold(module.weight, module.bn)[0])
            elif isinstance(module, nn.Conv2d | Linear):
                found[key] = weight_scales(module.weight)
    return found


def _scaled(x: Tensor, share: float) -> Tensor:
    """x, whose gradient is multiplied by `share`."""
    return x.detach() + share * (x - x.detach())


@torch.no_grad()
def _points(net: FakeQuantized) -> list[str]:
    """The names of all activations but the image, in the order they are computed."""
    first, names = net.active[0], list[str]()
    net.visitor = lambda name, x: names.append(name)
    net.eval()(next(net.parameters()).new_zeros(1, first.inp, first.resolution, first.resolution))
    net.visitor = None
    return names


def _bounds(ranges: Ranges, names: Sequence[str]) -> list[tuple[float, float]]:
    """The ranges of the named points, checked."""
    if unknown := sorted(set(ranges) - {*names, "image"}):
        raise ValueError(f"ranges: {unknown[0]} is not an activation of this network")
    for name in names:
        if name not in ranges:
            raise ValueError(f"ranges: {name}: missing")
        low, high = ranges[name]
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"ranges: {name}: ({low}, {high}) is not a range")
    return [ranges[name] for name in names]
