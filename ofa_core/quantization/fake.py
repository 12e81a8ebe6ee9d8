"""A network that computes in float what its full-integer file computes: weights and activations are rounded to 8 bits.

Jacob et al. 2018, section 3 (https://arxiv.org/abs/1712.05877): batch norm is folded into the convolutions before their weights
are rounded, and activations are rounded where the integer file writes them to memory: after the fused activation.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.depthwise import depthwise_conv
from ofa_core.nn.elastic import max_pool
from ofa_core.nn.network import CLASSIFIER, LayerModule, Network
from ofa_core.nn.part import convolve
from ofa_core.nn.slices import activate
from ofa_core.quantization.grid import IMAGE_RANGE, LEVELS, quantize_activation, quantize_weight, weight_scales
from ofa_core.space.graph import last_reads, lower_network, output_points, range_points
from ofa_core.space.layers import Layer
from ofa_core.space.ops import IMAGE, HardSwish, Op

Ranges = Mapping[str, tuple[float, float]]
"""(low, high) of activations, by point; `ofa_core.space.layers.lower` names them."""
Visitor = Callable[[str, Tensor], None]
"""(point, x (B, ...))."""

AVERAGE_DECAY = 0.99
"""Weight of the past in the moving averages of ranges, at every step. Jacob et al. take one close to 1, for longer training."""


class FakeQuantized(LayerModule):
    """A stand-alone network with fake quantisation. It interprets the network's operations and shares its weights.

    network: stays an ordinary network in eval mode. Its batch norm statistics do not change, not even in training.
    ranges: of all activations. None: they are not known yet, and activations are not rounded.
    hard_swish: the form that the integer file will have.
    learn: the bounds of ranges get gradients in training. Otherwise ranges are moving averages of the smallest and largest
      values of batches.
    delay: forward passes in training before activations are rounded. Until then ranges are moving averages.
    keep_float: names of layers that compute in float.

    Ranges do not change in eval mode. Biases are not rounded: the file stores them in 32 bits.
    Raises ValueError for a range that is missing, is not finite, or belongs to no activation of the network.
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
        """Whether weights and activations are rounded."""
        self.visitor: Visitor | None = None
        """Is called with every activation before it is rounded."""
        self.exact = False  # whether nothing is rounded in the present layer
        self.ops = lower_network(network.active, hard_swish)
        self.outputs = output_points(network.active, network.outputs)
        self.same_range = range_points(self.ops)
        self.index = {op.point: i for i, op in enumerate(op for op in self.ops if not op.pools)}
        bounds = [(0.0, 0.0)] * len(self.index) if ranges is None else _bounds(ranges, list(self.index))
        self.activations = ranges is not None
        device = next(network.parameters()).device
        # All are float32, so that the state can be averaged over steps and over processes.
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
        """As for any module, except that the network inside stays in eval mode."""
        super().train(mode)
        self.network.eval()
        return self

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """(low, high) of every activation by point, the image's among them."""
        low, high = self._shifted(slice(None))
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return {IMAGE: IMAGE_RANGE} | dict(zip(self.index, pairs, strict=True))

    def forward(self, x: Tensor) -> Any:
        """(B, 3, r, r) -> (B, num_classes); with several outputs a dictionary of tensors by point."""
        delayed = not self.activations or (self.training and bool(self.passes < self.delay))
        values = {IMAGE: self._image(x, exact=delayed)}
        for op, unused in last_reads(self.ops, self.outputs):
            self.exact = delayed or op.layer in self.keep_float
            inputs = [self._read(point, values[point], delayed) for point in op.inputs]
            if op.kind == "linear" and op.layer == CLASSIFIER and self.network.dropout:
                inputs[0] = F.dropout(inputs[0], self.network.dropout, self.training)
            y = self._compute(op, inputs)
            # The largest of rounded values is one of them; their mean is not, and is rounded once more.
            values[op.point] = y if op.kind == "maxpool" else self._round(y, op.point) if op.pools else self._point(y, op.point)
            for point in unused:
                del values[point]
        if self.training:
            self.passes += 1
        self.exact = delayed
        found = {point: self._read(point, values[point], delayed) for point in self.outputs}
        return found if self.network.outputs else found[self.outputs[0]]

    def _read(self, point: str, x: Tensor, delayed: bool) -> Tensor:
        """What an operation reads: a value that was computed in float is rounded when integers are computed from it."""
        kept = point.partition(".")[0] in self.keep_float
        return self._round(x, point) if kept and not delayed and not self.exact else x

    def _compute(self, op: Op, inputs: list[Tensor]) -> Tensor:
        """An operation with its activation: inputs (B, C, H, W) or (B, C)."""
        [x, *others] = inputs
        if op.weights is not None:
            weight, bias = layer_weights(self.network, op)
            weight = self._rounded(weight, op)
            if op.kind == "linear":
                y = F.linear(x, weight, bias)
            elif op.kind == "depthwise":
                y = depthwise_conv(x, weight, op.stride, op.padding) + _column(bias)
            else:
                y = convolve(x, weight, bias, op.stride, op.padding)
            return activate(y + op.constant if op.constant else y, op.act)
        if op.kind in ("maxpool", "avgpool"):
            return max_pool(x, op.kernel, op.stride, op.padding) if op.kind == "maxpool" else _mean_pool(x, op)
        if op.kind in ("mean", "flat_mean"):
            return x.mean(dim=(2, 3), keepdim=op.kind == "mean")
        if op.kind == "hard_swish":
            return F.hardswish(x)
        arithmetic: dict[str, Callable[[], Tensor]] = {
            "add": lambda: x + others[0],
            "mul": lambda: x * others[0],
            "divide": lambda: x / op.constant,
            "shift": lambda: x + op.constant,
        }
        return activate(arithmetic[op.kind](), op.act)

    def _rounded(self, weight: Tensor, op: Op) -> Tensor:
        return quantize_weight(weight) if self.weights and op.layer not in self.keep_float else weight

    def _image(self, x: Tensor, exact: bool) -> Tensor:
        if exact:
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
        point = self.same_range[name]
        if point == IMAGE:
            return quantize_activation(x, *(x.new_tensor(bound) for bound in IMAGE_RANGE))
        low, high = self._shifted(self.index[point], x.numel() // len(x))
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


def layer_weights(network: Network, op: Op) -> tuple[Tensor, Tensor | None]:
    """The weights (out, ...) and bias (out,) of an operation of a stand-alone network, its batch norm folded in."""
    module = network.parts.get_submodule(str(op.weights))
    weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
    if not op.norm:
        return weight, bias
    norm = module.get_submodule("bn")
    assert isinstance(norm, BatchNorm)
    return fold(weight, norm)


@torch.no_grad()
def scales_by_weights(network: Network) -> dict[str, Tensor]:
    """The scales (out,) of all weights of a stand-alone network, by their names in its operations, as `block_1.expand`."""
    ops = lower_network(network.active)
    return {op.weights: weight_scales(layer_weights(network, op)[0]) for op in ops if op.weights is not None}


def _mean_pool(x: Tensor, op: Op) -> Tensor:
    return F.avg_pool2d(x, op.kernel, op.stride, ceil_mode=True)


def _column(bias: Tensor | None) -> Tensor:
    """A bias (C,) as it is added to maps (B, C, H, W)."""
    assert bias is not None
    return bias[:, None, None]


def _scaled(x: Tensor, share: float) -> Tensor:
    """x, whose gradient is multiplied by `share`."""
    return x.detach() + share * (x - x.detach())


def _bounds(ranges: Ranges, names: Sequence[str]) -> list[tuple[float, float]]:
    """The ranges of the named points, checked."""
    if unknown := sorted(set(ranges) - {*names, IMAGE}):
        raise ValueError(f"ranges: {unknown[0]} is not an activation of this network")
    for name in names:
        if name not in ranges:
            raise ValueError(f"ranges: {name}: missing")
        low, high = ranges[name]
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"ranges: {name}: ({low}, {high}) is not a range")
    return [ranges[name] for name in names]
