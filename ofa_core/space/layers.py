"""The layer record, and what a layer is made of: the one description of a network that everything else interprets.

A network is a list of `Layer`s in the order they run. Search spaces make such lists from architectures
(`ofa_core.space.mobile`, `resnet`). `netconfig` reads them from published configurations. A layer reads the output of the
one before it, or the point that its `source` names, so a list can describe a graph.

Only `lower` defines what each kind of layer consists of; its elastic module in `ofa_core.nn` computes the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

from ofa_core.space.ops import IMAGE, Activation, HardSwish, Op, Padding, pads

Kind = Literal["conv", "depthwise", "mbconv", "bottleneck", "maxpool", "avgpool", "linear", "join"]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor` and never below 90 % of `value`.

    How the MobileNet family rounds channel numbers (MobileNetV2's code; the once-for-all code does the same).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer with everything needed to count, build, convert or time it. All maps are square.

    kind:
      conv        convolution, batch norm or bias, and activation; `residual` adds the input afterwards
      depthwise   convolution of each channel by itself, batch norm and activation
      mbconv      1x1 expansion (left out when mid == inp), depthwise k x k, squeeze-excite (se > 0), 1x1 projection
      bottleneck  ResNet-D: 1x1, 3x3, 1x1; the shortcut is the input, or (not residual) average pool and 1x1 convolution
      maxpool     over k x k windows
      avgpool     over the whole map; the result is a vector
      linear      of a vector
      join        several maps as the rows of one array: each position of a map gives as many rows of `out` values as fit into
                  its channels. Row by row, map after map
    """

    name: str = field(compare=False)
    """Where the layer's weights live in a network; the same in every sub-network of a space."""
    kind: Kind
    inp: int
    """Input channels."""
    mid: int = 0
    """Channels inside a mbconv or bottleneck."""
    out: int
    """Output channels."""
    kernel: int = 1
    stride: int = 1
    padding: Padding = "symmetric"
    """Of the layer's k x k window."""
    act: Activation = "none"
    se: int = 0
    """Squeezed channels of squeeze-excite; 0: none."""
    residual: bool = False
    resolution: int
    """Height and width of the input map."""
    bn_eps: float | None = None
    """Epsilon of the batch norms; None: no batch norm."""
    bias: bool = False
    """Whether there is a bias: of a linear layer, or of a convolution without batch norm."""
    maps: tuple[tuple[int, int], ...] = ()
    """Channels and resolution of each map that a join reads. Its inp and out are values in a row."""
    source: str | tuple[str, ...] | None = field(default=None, compare=False)
    """The point it reads: a layer, or a place inside one such as `block_13.expand`; of a join, all of them. None: the layer
    before."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Layer":
        """The record of fields as JSON keeps them, with lists for tuples."""
        return cls(**{name: tuples(value) for name, value in fields.items()})

    @property
    def sources(self) -> tuple[str, ...]:
        """The points that `source` names; none if it reads the layer before."""
        return (self.source,) if isinstance(self.source, str) else self.source or ()

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Channels and resolution of each map that it reads."""
        return self.maps or ((self.inp, self.resolution),)

    @property
    def out_resolution(self) -> int:
        """Height and width of the output map; 1 for a vector."""
        return _facts(self).out_resolution

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image of the convolutions and linear layers, including squeeze-excite."""
        return _facts(self).macs

    @property
    def params(self) -> int:
        """Trainable numbers: weights, biases, and scale and shift of batch norms."""
        return _facts(self).params

    @property
    def window(self) -> Op | None:
        """The operation with the largest sliding window; None for a layer without one."""
        return _facts(self).window

    @cached_property
    def key(self) -> str:
        """A readable name of the layer's shape, equal for layers that do the same work: the key of latency tables."""
        parts = [self.kind, *(f"{resolution}x{resolution}x{channels}" for channels, resolution in self.shapes)]
        parts += [f"{self.out_resolution}x{self.out_resolution}x{self.out}"]
        if self.mid:
            parts.append(f"mid:{self.mid}")
        if self.window is not None:
            parts += [f"kernel:{self.kernel}", f"stride:{self.stride}"]
            size, window = self.window.resolution, (self.kernel, self.stride)
            if pads(self.padding, size, *window) != pads("symmetric", size, *window):
                parts.append(self.padding)
        if self.kind == "conv" and self.bias:
            parts.append("bias")
        if self.act != "none":
            parts.append(self.act)
        if self.se:
            parts.append(f"se:{self.se}")
        if self.residual:
            parts.append("residual")
        return "-".join(parts)


def tuples(value: Any) -> Any:
    """A value as JSON keeps it, with tuples for its lists."""
    return tuple(tuples(part) for part in value) if isinstance(value, list | tuple) else value


class _Facts(NamedTuple):
    """What `Layer` derives from its operations."""

    out_resolution: int
    macs: int
    params: int
    window: Op | None


@cache
def _facts(layer: Layer) -> _Facts:
    """Computed once per shape: spaces repeat the same few thousand shapes."""
    ops = lower(layer)
    windows = [op for op in ops if op.kind in ("conv", "depthwise", "maxpool")]
    window = max(windows, key=lambda op: (op.kernel, op.stride), default=None)
    return _Facts(ops[-1].out_resolution, sum(op.macs for op in ops), sum(op.params for op in ops), window)


# --------------------------------------------------------------------------------------------------------------- lowering


def lower(layer: Layer, hard_swish: HardSwish = "composed", source: str = IMAGE) -> list[Op]:
    """The operations of one layer, in the order they run. The last one computes the point named like the layer.

    hard_swish: the form to expand h_swish into. source: the point it reads if the record names none.

    Points inside a layer NAME: NAME.expand, NAME.depthwise, NAME.se.pool, NAME.se.reduce, NAME.se.expand (before the division
    by 6), NAME.se.gate, NAME.se (the product); NAME.reduce, NAME.spatial, NAME.pool, NAME.shortcut; NAME.conv, NAME.project or
    NAME.restore for what a residual is added to. P.sum precedes a point P with a hard swish; in the composed form,
    so do P.gate and P.sixth.
    """
    return list(LOWERINGS[layer.kind](Writer(layer, hard_swish), *(layer.sources or (source,))))


class Writer:
    """Writes the operations of one layer. Methods return the operations; the last one is read next."""

    def __init__(self, layer: Layer, hard_swish: HardSwish) -> None:
        self.layer, self.hard_swish = layer, hard_swish

    def op(self, kind: Any, point: str, *inputs: str, channels: int, resolution: int, **fields: Any) -> Op:
        """An operation. `point` is relative to the layer; "" is the layer itself. channels: in and out, unless in fields."""
        name = ".".join(filter(None, (self.layer.name, point)))
        return Op(**({"kind": kind, "point": name, "inputs": inputs, "inp": channels, "out": channels} | fields),
                  resolution=resolution)  # fmt: skip

    def weighted(
        self, kind: Any, part: str, x: str, inp: int, out: int, r: int, *, point: str | None = None, act: Activation = "none",
        **fields: Any,
    ) -> list[Op]:  # fmt: skip
        """Applies the weights of submodule `part`, batch norm unless fields say otherwise, and the activation."""
        weights = ".".join(filter(None, (self.layer.name, part)))
        place = part if point is None else point
        op = self.op(kind, place, x, channels=inp, resolution=r, **({"out": out, "weights": weights, "norm": True} | fields))
        return self.activated(op, act)

    def activated(self, op: Op, act: Activation) -> list[Op]:
        """An operation and its activation: one op where it can be fused, else followed by those of the activation."""
        after = {"channels": op.out, "resolution": op.out_resolution}
        if act == "sigmoid":
            before = replace(op, point=f"{op.point}.logits")
            return [before, Op(kind="sigmoid", point=op.point, inputs=(before.point,), inp=op.out, out=op.out, resolution=1)]
        if act != "h_swish":
            return [replace(op, act=act)]
        before = replace(op, point=f"{op.point}.sum")
        place = op.point.removeprefix(self.layer.name).removeprefix(".")

        def inside(kind: str, name: str, *inputs: str, **fields: Any) -> Op:
            return self.op(kind, ".".join(filter(None, (place, name))), *inputs, **after, **fields)

        if self.hard_swish == "fused":
            return [before, inside("hard_swish", "", before.point)]
        gate = inside("shift", "gate", before.point, constant=3.0, act="relu6")
        sixth = inside("divide", "sixth", before.point, constant=6.0)
        return [before, gate, sixth, inside("mul", "", sixth.point, gate.point)]

    @property
    def window(self) -> dict[str, Any]:
        """The fields of the operation with the layer's k x k window."""
        return {"kernel": self.layer.kernel, "stride": self.layer.stride, "padding": self.layer.padding}


def _conv(write: Writer, x: str) -> Iterator[Op]:
    layer = write.layer
    point = "conv" if layer.residual else ""
    fields = write.window | {"norm": layer.bn_eps is not None, "bias": layer.bias}
    ops = write.weighted("conv", "conv", x, layer.inp, layer.out, layer.resolution, point=point, act=layer.act, **fields)
    yield from ops
    if layer.residual:
        yield write.op("add", "", x, ops[-1].point, channels=layer.out, resolution=ops[-1].out_resolution)


def _depthwise(write: Writer, x: str) -> Iterator[Op]:
    layer = write.layer
    yield from write.weighted(
        "depthwise", "depthwise", x, layer.inp, layer.out, layer.resolution, point="", act=layer.act, **write.window
    )


def _mbconv(write: Writer, x: str) -> Iterator[Op]:
    layer, r = write.layer, write.layer.resolution
    y = x
    if layer.mid != layer.inp:
        ops = write.weighted("conv", "expand", x, layer.inp, layer.mid, r, act=layer.act)
        yield from ops
        y = ops[-1].point
    ops = write.weighted("depthwise", "depthwise", y, layer.mid, layer.mid, r, act=layer.act, **write.window)
    yield from ops
    y, r = ops[-1].point, ops[-1].out_resolution
    if layer.se:
        yield from (ops := _squeeze_excite(write, y, r))
        y = ops[-1].point
    point = "project" if layer.residual else ""
    yield from (ops := write.weighted("conv", "project", y, layer.mid, layer.out, r, point=point))
    if layer.residual:
        yield write.op("add", "", x, ops[-1].point, channels=layer.out, resolution=r)


def _squeeze_excite(write: Writer, x: str, r: int) -> list[Op]:
    """Gates from pooled features; the hard sigmoid is relu6(x + 3) / 6, its relu6 fused into a convolution."""
    layer = write.layer
    plain: dict[str, Any] = {"norm": False, "bias": True}
    pool = write.op("mean", "se.pool", x, channels=layer.mid, resolution=r)
    [reduce] = write.weighted("conv", "se.reduce", pool.point, layer.mid, layer.se, 1, act="relu", **plain)
    [expand] = write.weighted("conv", "se.expand", reduce.point, layer.se, layer.mid, 1, act="relu6", constant=3.0, **plain)
    gate = write.op("divide", "se.gate", expand.point, channels=layer.mid, resolution=1, constant=6.0)
    return [pool, reduce, expand, gate, write.op("mul", "se", x, gate.point, channels=layer.mid, resolution=r)]


def _bottleneck(write: Writer, x: str) -> Iterator[Op]:
    layer, r = write.layer, write.layer.resolution
    yield from (reduce := write.weighted("conv", "reduce", x, layer.inp, layer.mid, r, act=layer.act))
    spatial = write.weighted("conv", "spatial", reduce[-1].point, layer.mid, layer.mid, r, act=layer.act, **write.window)
    yield from spatial
    after = spatial[-1].out_resolution
    yield from (restore := write.weighted("conv", "restore", spatial[-1].point, layer.mid, layer.out, after))
    if not layer.residual:
        if layer.stride > 1:
            pool = write.op("avgpool", "pool", x, channels=layer.inp, resolution=r, kernel=layer.stride, stride=layer.stride)
            yield pool
            x = pool.point
        yield from (shortcut := write.weighted("conv", "shortcut", x, layer.inp, layer.out, after))
        x = shortcut[-1].point
    total = write.op("add", "", x, restore[-1].point, channels=layer.out, resolution=after)
    yield from write.activated(total, layer.act)


def _maxpool(write: Writer, x: str) -> Iterator[Op]:
    yield write.op("maxpool", "", x, channels=write.layer.out, resolution=write.layer.resolution, **write.window)


def _avgpool(write: Writer, x: str) -> Iterator[Op]:
    yield write.op("flat_mean", "", x, channels=write.layer.out, resolution=write.layer.resolution)


def _linear(write: Writer, x: str) -> Iterator[Op]:
    layer = write.layer
    yield from write.weighted("linear", "", x, layer.inp, layer.out, 1, act=layer.act, norm=False, bias=layer.bias)


def _join(write: Writer, *maps: str) -> Iterator[Op]:
    yield from write.activated(write.op("join", "", *maps, channels=write.layer.out, resolution=1), write.layer.act)


LOWERINGS: dict[Kind, Callable[..., Iterable[Op]]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "mbconv": _mbconv,
    "bottleneck": _bottleneck,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "linear": _linear,
    "join": _join,
}
"""By kind of layer: its operations. Arguments: a writer of the layer's operations, and the point, or points, that it reads."""
