"""Simulates a full-integer file in float: weights and activations are rounded to 8 bits.

Jacob et al. 2018, section 3 (https://arxiv.org/abs/1712.05877): batch norm is folded into the convolutions before their weights
are rounded. Activations are rounded where the integer file stores them: after the fused activation.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.folding import compute, fold
from ofa_core.nn.inputs import Normalization
from ofa_core.nn.network import CLASSIFIER, LayerModule, Network
from ofa_core.quantization.grid import LEVELS, quantize_activation, quantize_weight, weight_scales
from ofa_core.run.errors import InputError
from ofa_core.space.graph import last_reads, lower_network, output_points, range_points
from ofa_core.space.layers import Layer
from ofa_core.space.ops import IMAGE, HardSwish, Op

Ranges = Mapping[str, tuple[float, float]]
"""(low, high) of activations, by point; `ofa_core.space.layers.lower` names them."""
Visitor = Callable[[str, Tensor], None]
"""(point, x (B, ...))."""

AVERAGE_DECAY = 0.99
"""Decay per step of the moving averages of ranges. Jacob et al. use a value close to 1, for longer training."""


class FakeQuantized(LayerModule):
    """A stand-alone network with fake quantisation. `network` stays an ordinary network and shares its weights.

    network: always in eval mode; its batch norm statistics are fixed, also in training.
    ranges: of every activation; None if unknown, activations are then not rounded. hard_swish: the integer file's form.
    learn: whether the bounds get gradients in training. If not, ranges are moving averages of the batches' extremes.
    delay: training passes before activations are rounded; until then, ranges are moving averages in either case.
    keep_float: names of layers that compute in float.

    Eval mode leaves ranges unchanged. Biases are not rounded: the file has 32 bits for them.
    Raises InputError for ranges that are not finite, are missing, or name no activation of the network.
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
        """Sees every activation before it is rounded."""
        self.exact = False  # whether the current layer or pass rounds nothing
        self.ops = lower_network(network.active, hard_swish)
        self.outputs = output_points(network.active, network.outputs)
        self.same_range = range_points(self.ops)
        self.fixed = {op.point: op.fixed_range for op in self.ops if op.fixed_range is not None}
        own = [op.point for op in self.ops if self.same_range[op.point] == op.point and op.point not in self.fixed]
        self.index = {point: i for i, point in enumerate(own)}
        bounds = [(0.0, 0.0)] * len(self.index) if ranges is None else _bounds(ranges, list(self.index), self.fixed)
        self.activations = ranges is not None
        device = next(network.parameters()).device
        # All float32, so that the state's moving average and the mean over processes are defined.
        self.register_buffer("low", torch.tensor([low for low, _ in bounds], device=device))  # (points,)
        self.register_buffer("high", torch.tensor([high for _, high in bounds], device=device))
        self.register_buffer("passes", torch.zeros((), device=device))
        self.waiting = True  # until `passes` reaches the delay; asking the device at every pass would wait for it
        self.register_load_state_dict_post_hook(_wait_again)
        # Logarithms of factors of the bounds: a step changes a bound in proportion, and never its sign
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

    @property
    def dropout(self) -> float:
        """Probability of dropping a feature before the classifier in training."""
        return self.network.dropout

    @dropout.setter
    def dropout(self, probability: float) -> None:
        self.network.dropout = probability

    @property
    def normalization(self) -> Normalization:  # type: ignore[override]
        """How pixels become its input."""
        return self.network.normalization

    def train(self, mode: bool = True) -> Self:
        """Sets the mode, except of the network inside."""
        super().train(mode)
        self.network.eval()
        return self

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """(low, high) of every activation by point, including the image."""
        low, high = self._shifted(slice(None))
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return self.fixed_ranges | dict(zip(self.index, pairs, strict=True))

    @property
    def fixed_ranges(self) -> dict[str, tuple[float, float]]:
        """(low, high) of the points whose range is no choice: the image, and what TFLite's kernels fix."""
        return {IMAGE: self.normalization.byte_range} | self.fixed

    def forward(self, x: Tensor) -> Any:
        """(B, 3, r, r) -> (B, num_classes); with named outputs, a dictionary of tensors by point."""
        if self.training and self.waiting:
            self.waiting = bool(self.passes < self.delay)
        delayed = not self.activations or (self.training and self.waiting)
        values = {IMAGE: self._image(x, exact=delayed)}
        for op, unused in last_reads(self.ops, self.outputs):
            self.exact = delayed or op.layer in self.keep_float
            inputs = [self._read(point, values[point], delayed) for point in op.inputs]
            if op.kind == "linear" and op.layer == CLASSIFIER and self.network.dropout:
                inputs[0] = F.dropout(inputs[0], self.network.dropout, self.training)
            y = self._compute(op, inputs)
            values[op.point] = self._seen(y, op)
            for point in unused:
                del values[point]
        if self.training:
            self.passes += 1
        self.exact = delayed
        found = {point: self._read(point, values[point], delayed) for point in self.outputs}
        return found if self.network.outputs else found[self.outputs[0]]

    def _read(self, point: str, x: Tensor, delayed: bool) -> Tensor:
        """An operation's input. A value computed in float is rounded if an integer operation reads it."""
        kept = point.partition(".")[0] in self.keep_float
        return self._round(x, point) if kept and not delayed and not self.exact else x

    def _compute(self, op: Op, inputs: list[Tensor]) -> Tensor:
        """An operation with its activation: inputs (B, C, H, W) or (B, C)."""
        if op.weights is None:
            return compute(op, inputs)
        weight, bias = layer_weights(self.network, op)
        return compute(op, inputs, self._rounded(weight, op), bias)

    def _rounded(self, weight: Tensor, op: Op) -> Tensor:
        return quantize_weight(weight) if self.weights and op.layer not in self.keep_float else weight

    def _image(self, x: Tensor, exact: bool) -> Tensor:
        if exact:
            return x
        low, high = (x.new_tensor(bound) for bound in self.normalization.byte_range)
        return quantize_activation(x + self.normalization.byte_shift, low, high)  # bytes as they are

    def _seen(self, y: Tensor, op: Op) -> Tensor:
        """What an operation has computed, observed and rounded as its point asks."""
        if op.point in self.index:
            return self._point(y, op.point)
        # A maximum of rounded values is already rounded. A mean is not, so it is rounded again. Maps that are joined are
        # rounded in the join: their common range is observed there, on values that are not yet cut off.
        joined = not op.pools and op.point not in self.fixed
        return y if op.kind == "maxpool" or joined else self._round(y, op.point)

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
        if point not in self.index:
            return quantize_activation(x, *(x.new_tensor(bound) for bound in self.fixed_ranges[point]))
        low, high = self._shifted(self.index[point], x.numel() // len(x))
        return quantize_activation(x, low, high)

    def _shifted(self, i: int | slice, features: int = 1) -> tuple[Tensor, Tensor]:
        """The bounds of the i-th point. features: values per image there."""
        if self.low_shift is None or self.high_shift is None:
            return self.low[i], self.high[i]
        # LSQ, section 2.2: a step size's gradient sums over all values, so it is scaled by their number.
        share = 1 / math.sqrt(features * LEVELS)
        return self.low[i] * _scaled(self.low_shift[i], share).exp(), self.high[i] * _scaled(self.high_shift[i], share).exp()

    def _observe(self, x: Tensor, i: int) -> None:
        """Moves a range towards a batch's."""
        for average, found in zip((self.low, self.high), x.aminmax(), strict=True):
            average[i].lerp_(found, 1 - AVERAGE_DECAY)


def _wait_again(module: nn.Module, keys: object) -> None:
    """After loading a state: it may be one from before the delay."""
    module.waiting = True  # type: ignore[assignment]


def of_form(ranges: Ranges, hard_swish: HardSwish) -> Ranges:
    """Composed-form ranges for either form of hard swish. Inside it, the fused form keeps only the sum's."""
    if hard_swish == "composed":
        return ranges
    inner = {
        f"{point.removesuffix('sum')}{factor}" for point in ranges for factor in ("sixth", "gate") if point.endswith(".sum")
    }
    return {point: bounds for point, bounds in ranges.items() if point not in inner}


def layer_weights(network: Network, op: Op) -> tuple[Tensor, Tensor | None]:
    """The weights (out, ...) and bias (out,) of an operation of a stand-alone network, batch norm folded in."""
    module = network.parts.get_submodule(str(op.weights))
    weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
    if not op.norm:
        return weight, bias
    norm = module.get_submodule("bn")
    assert isinstance(norm, BatchNorm)
    return fold(weight, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)


@torch.no_grad()
def scales_by_weights(network: Network) -> dict[str, Tensor]:
    """The scales (out,) of all weights of a stand-alone network, by name in its operations, such as `block_1.expand`."""
    ops = lower_network(network.active)
    return {op.weights: weight_scales(layer_weights(network, op)[0]) for op in ops if op.weights is not None}


def _scaled(x: Tensor, share: float) -> Tensor:
    """x, whose gradient is multiplied by `share`."""
    return x.detach() + share * (x - x.detach())


def _bounds(ranges: Ranges, names: Sequence[str], fixed: Collection[str]) -> list[tuple[float, float]]:
    """The ranges of the named points, checked. fixed: points whose ranges are given and not used."""
    if unknown := sorted(set(ranges) - {*names, *fixed, IMAGE}):
        raise InputError(f"ranges: {unknown[0]} is not an activation of this network")
    for name in names:
        if name not in ranges:
            raise InputError(f"ranges: {name}: missing")
        low, high = ranges[name]
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise InputError(f"ranges: {name}: ({low}, {high}) is not a range")
    return [ranges[name] for name in names]
