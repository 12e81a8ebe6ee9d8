"""MobileNet-like once-for-all spaces: a table with a row for each part, and the function that turns an `Arch` into layers.

Once-for-All: Train One Network and Specialize it for Efficient Deployment (Cai et al., ICLR 2020,
https://arxiv.org/abs/1908.09791). Rows with lists of choices are those of AttentiveNAS (Wang et al., CVPR 2021,
https://arxiv.org/abs/2011.09011, table 1). `registry.py` has the tables by name; docs/spaces.md explains how to write one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Gene, Slot, Space, check_resolutions, check_width_mult
from ofa_core.space.layers import Activation, Layer, make_divisible
from ofa_core.space.ops import Padding

STRICT = {"extra": "forbid", "strict": True}
"""How pydantic reads these classes from YAML or JSON. Plain dataclasses, because `ofa cost` needs no pydantic."""

# ------------------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, kw_only=True)
class Stem:
    """The first 3x3 convolution. widths: its choices, at multiplier 1."""

    widths: tuple[int, ...]
    stride: int
    act: Activation
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        _check_choices("widths", self.widths)
        _check_stride(self.stride)


@dataclass(frozen=True, kw_only=True)
class FirstBlock:
    """The 3x3 block without expansion behind the stem.

    residual: whether it is residual where stride is 1 and widths are equal. ProxylessNAS's never is. se: squeeze-excite.
    """

    widths: tuple[int, ...]
    act: Activation
    residual: bool
    stride: int = 1
    se: bool = False
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        _check_choices("widths", self.widths)
        _check_stride(self.stride)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A row of inverted bottlenecks of equal width.

    widths: its choices, at multiplier 1. depths: how many of its blocks there may be. kernel_sizes, expand_ratios: choices of
    each block. stride: of the first block. se: squeeze-excite in every block.

    An expand ratio of 1 stands alone, since a block without expansion lacks a convolution that others have.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    expand_ratios: tuple[float, ...]
    stride: int
    act: Activation
    se: bool
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        _check_choices("widths", self.widths)
        _check_choices("depths", self.depths, most=64)
        _check_choices("kernel_sizes", self.kernel_sizes, least=3, most=31)
        if even := [size for size in self.kernel_sizes if size % 2 == 0]:
            raise InputError(f"kernel_sizes: {even[0]} is not odd")
        # As in `Arch`: a ratio that is a whole number is an int, however it was written.
        whole = tuple(int(ratio) if float(ratio).is_integer() else ratio for ratio in self.expand_ratios)
        object.__setattr__(self, "expand_ratios", whole)
        _check_choices("expand_ratios", self.expand_ratios, most=32)
        if 1 in self.expand_ratios and len(self.expand_ratios) > 1:
            raise InputError(f"expand_ratios: {list(self.expand_ratios)}: 1 stands alone, without expansion")
        _check_stride(self.stride)

    @property
    def blocks(self) -> int:
        """The number of blocks at the largest depth."""
        return self.depths[-1]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What follows the stages; widths at multiplier 1.

    expand_widths: of MobileNetV3's 1x1 convolution before pooling; the layer of `mix_widths` then follows pooling, without
      batch norm. None: a 1x1 convolution with batch norm before pooling makes the features.
    mix_widths: features of the classifier.
    mix_bias: whether that layer behind pooling has a bias. Published MobileNetV3s have one, Once-for-All's have none.
    """

    expand_widths: tuple[int, ...] | None
    mix_widths: tuple[int, ...]
    act: Activation
    mix_bias: bool = False
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.expand_widths is not None:
            _check_choices("expand_widths", self.expand_widths)
        elif self.mix_bias:
            raise InputError("mix_bias: true: needs expand_widths; a convolution before pooling has batch norm instead")
        _check_choices("mix_widths", self.mix_widths)


@dataclass(frozen=True, kw_only=True)
class MBTable:
    """A MobileNet-like space as data.

    width_mult, resolutions (pixels): what the space has unless others are asked for. bn_eps: of all batch norms.
    padding: of all windows; same is TensorFlow's.

    Raises InputError that begins with the field, as the rows do.
    """

    width_mult: float
    resolutions: tuple[int, ...]
    bn_eps: float
    stem: Stem
    first: FirstBlock
    stages: tuple[Stage, ...]
    head: Head
    padding: Padding = "symmetric"
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        check_width_mult(self.width_mult)
        check_resolutions(self.resolutions)
        if not 0 < self.bn_eps < 1:
            raise InputError(f"bn_eps: {self.bn_eps} is not between 0 and 1")
        if not self.stages:
            raise InputError("stages: none")
        if len(self.stages) == 6 and sum(stage.blocks for stage in self.stages) == 21 and self.stages[5].depths != (1,):
            raise InputError("stages[5].depths: must be [1]: of 21 blocks in six stages, `Arch` reads the sixth depth as 1")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "MBTable":
        """The table with these fields, as `to_dict` returns them. Raises InputError that begins with row and field."""
        from ofa_core.run.params import parse  # needs pydantic, which the shipped tables do not

        try:
            return parse(cls, values, "")
        except InputError as error:
            raise InputError(str(error).lstrip(".: ")) from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields: what the YAML file of a space holds. Optional ones are left out where they have their default."""
        return _without_defaults(self)

    @property
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """The widths of stem, first block, each stage, and the layers of the head, at multiplier 1."""
        head = [widths for widths in (self.head.expand_widths, self.head.mix_widths) if widths]
        return (self.stem.widths, self.first.widths, *(stage.widths for stage in self.stages), *head)

    @property
    def elastic_width(self) -> bool:
        """Whether any row has more than one width."""
        return any(len(widths) > 1 for widths in self.widths)

    def space(self, name: str, width_mult: float | None = None, resolutions: Sequence[int] | None = None) -> "MBSpace":
        """The space of this table. Raises InputError that names row and field."""
        return MBSpace(
            name,
            self,
            self.width_mult if width_mult is None else width_mult,
            tuple(self.resolutions if resolutions is None else resolutions),
        )


def _without_defaults(row: Any) -> dict[str, Any]:
    found = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.default is MISSING or value != field.default:
            nested = isinstance(value, tuple) and is_dataclass(value[0])
            found[field.name] = (
                _without_defaults(value) if is_dataclass(value) else [*map(_without_defaults, value)] if nested else value
            )
    return found


def _check_choices(field: str, values: Sequence[float], least: int = 1, most: int = 65536) -> None:
    if not values or list(values) != sorted(set(values)) or values[0] < least or values[-1] > most:
        raise InputError(f"{field}: {list(values)} are not ascending numbers from {least} to {most}")


def _check_stride(stride: int) -> None:
    if stride not in (1, 2):
        raise InputError(f"stride: {stride} is not 1 or 2")


# -------------------------------------------------------------------------------------------------------------------- space


class MBSpace(Space):
    """A space with elastic kernel size, expand ratio, depth and, if its table has several widths, width.

    A block is residual where its stride is 1 and its input is as wide as its output. In a table with elastic widths the first
    block of a row never is: the widths around it may be equal in some networks only, and a block that learns what to add in
    some of them and the whole output in others serves neither.
    """

    def __init__(self, name: str, table: MBTable, width_mult: float, resolutions: tuple[int, ...]) -> None:
        self.name, self.table, self.width_mult, self.resolutions = name, table, width_mult, resolutions
        self._check_expansions()
        stages, widths = table.stages, table.widths if table.elastic_width else ()
        rows = [stage for stage in stages for _ in range(stage.blocks)]
        self.genes = (
            *(Gene("ks", i, stage.kernel_sizes) for i, stage in enumerate(rows)),
            *(Gene("e", i, stage.expand_ratios) for i, stage in enumerate(rows)),
            *(Gene("d", i, stage.depths) for i, stage in enumerate(stages)),
            *(Gene("w", i, choices) for i, choices in enumerate(widths)),
        )
        blocks, first = len(rows), 2 * len(rows) + len(stages)  # the first columns of expand ratios and of widths

        def wide(*rows: int) -> tuple[int, ...]:
            """The columns of these rows' widths, if widths are elastic."""
            return tuple(first + row for row in rows) if widths else ()

        slots, block = [Slot("first_conv", wide(0), None), Slot("block_0", wide(0, 1), None)], 0
        for s, stage in enumerate(stages):
            for position in range(stage.blocks):
                genes = (block, blocks + block, *(wide(s + 1, s + 2) if position == 0 else wide(s + 2)))
                slots.append(Slot(f"block_{block + 1}", genes, (2 * blocks + s, position + 1)))
                block += 1
        last = len(stages) + 1  # the row of the last stage
        if table.head.expand_widths:
            slots += [Slot("final_expand", wide(last, last + 1), None), Slot("pool", wide(last + 1), None)]
            slots += [Slot("feature_mix", wide(last + 1, last + 2), None), Slot("classifier", wide(last + 2), None)]
        else:
            slots += [Slot("feature_mix", wide(last, last + 1), None), Slot("pool", wide(last + 1), None)]
            slots += [Slot("classifier", wide(last + 1), None)]
        self.slots = tuple(slots)

    def description(self) -> dict[str, Any]:
        """With the table, so that weights and predictors outlive a change of it."""
        found = {"name": self.name, "width_mult": self.width_mult, "resolutions": self.resolutions, "choices": self.choices}
        return found | {"table": self.table.to_dict()}

    def layers(self, arch: Arch, num_classes: int = 1000) -> list[Layer]:
        self.validate(arch)
        assert arch.ks is not None  # validated
        table = self.table
        stem, first, *widths = map(self._width, arch.w or (choices[0] for choices in table.widths))
        layers = [
            Layer(name="first_conv", kind="conv", inp=3, out=stem, kernel=3, stride=table.stem.stride, act=table.stem.act,
                  resolution=arch.r, bn_eps=table.bn_eps, padding=table.padding)
        ]  # fmt: skip
        residual = table.first.residual and table.first.stride == 1 and stem == first and not table.elastic_width
        layers.append(
            Layer(name="block_0", kind="mbconv", inp=stem, mid=stem, out=first, kernel=3, stride=table.first.stride,
                  act=table.first.act, se=make_divisible(stem // 4) if table.first.se else 0, residual=residual,
                  resolution=layers[-1].out_resolution, bn_eps=table.bn_eps, padding=table.padding)
        )  # fmt: skip
        block = 0
        for stage, depth, width in zip(table.stages, arch.d, widths, strict=False):  # the head's widths come last
            for position in range(depth):
                ks, e = arch.ks[block + position], arch.e[block + position]
                layers.append(self._block(f"block_{block + position + 1}", layers[-1], stage, ks, e, width, position))
            block += stage.blocks
        return layers + self._head(layers[-1], widths[len(table.stages) :], num_classes)

    def _block(self, name: str, before: Layer, stage: Stage, kernel: int, expand: float, out: int, position: int) -> Layer:
        inp, stride = before.out, stage.stride if position == 0 else 1
        mid = make_divisible(round(inp * expand))
        se = make_divisible(mid // 4) if stage.se else 0
        residual = stride == 1 and inp == out and not (position == 0 and self.table.elastic_width)
        return Layer(name=name, kind="mbconv", inp=inp, mid=mid, out=out, kernel=kernel, stride=stride, act=stage.act, se=se,
                     residual=residual, resolution=before.out_resolution, bn_eps=self.table.bn_eps,
                     padding=self.table.padding)  # fmt: skip

    def _head(self, before: Layer, widths: Sequence[int], num_classes: int) -> list[Layer]:
        act, eps, r, mix = self.table.head.act, self.table.bn_eps, before.out_resolution, widths[-1]
        if self.table.head.expand_widths:
            wide = widths[0]
            head = [
                Layer(name="final_expand", kind="conv", inp=before.out, out=wide, act=act, resolution=r, bn_eps=eps),
                Layer(name="pool", kind="avgpool", inp=wide, out=wide, resolution=r),
                Layer(
                    name="feature_mix", kind="linear", inp=wide, out=mix, act=act, bias=self.table.head.mix_bias, resolution=1
                ),
            ]
        else:
            head = [
                Layer(name="feature_mix", kind="conv", inp=before.out, out=mix, act=act, resolution=r, bn_eps=eps),
                Layer(name="pool", kind="avgpool", inp=mix, out=mix, resolution=r),
            ]
        return [*head, Layer(name="classifier", kind="linear", inp=mix, out=num_classes, bias=True, resolution=1)]

    def _check_expansions(self) -> None:
        """Raises InputError for a ratio that rounding undoes: the block would lack a convolution that others have."""
        for s, (stage, before) in enumerate(zip(self.table.stages, self.table.widths[1:], strict=False)):
            for width in {self._width(width) for width in (*before, *stage.widths)}:
                for ratio in stage.expand_ratios:
                    if ratio > 1 and make_divisible(round(width * ratio)) <= width:
                        problem = f"{ratio} times {width} channels is rounded to {width}"
                        raise InputError(f"name: {self.name}: stages[{s}].expand_ratios: {problem}")

    def _width(self, width: int) -> int:
        return make_divisible(width * self.width_mult)
