"""The once-for-all search spaces: tables of stages, and the one function that turns an `Arch` into a list of layers.

Once-for-All: Train One Network and Specialize it for Efficient Deployment (Cai et al., ICLR 2020,
https://arxiv.org/abs/1908.09791); numbers of the tables from its published code (mit-han-lab/once-for-all).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ofa_core.arch import Arch
from ofa_core.layers import Activation, Layer, make_divisible
from ofa_core.params import section
from ofa_core.space import Gene, Slot, Space

# ---------------------------------------------------------------- mobile inverted bottlenecks: MobileNetV3, ProxylessNAS


@dataclass(frozen=True)
class Stage:
    """One row of a table: output width at multiplier 1, most blocks, stride of the first, activation, squeeze-excite.

    A stage of one block has a fixed depth; the others may keep their first 2, 3 or 4 blocks.
    """

    width: int
    blocks: int
    stride: int
    act: Activation
    se: bool = False


@dataclass(frozen=True)
class MBTable:
    """A MobileNet-like space as data. The widths of stem and head are those at multiplier 1."""

    stem_width: int
    stem_act: Activation
    first_width: int
    """Of the fixed first block: 3x3, expand ratio 1, stride 1."""
    first_act: Activation
    first_residual: bool
    stages: tuple[Stage, ...]
    expand_width: int | None
    """MobileNetV3's 1x1 convolution before pooling; `mix_width` then follows the pooling, without batch norm."""
    mix_width: int
    """Features of the classifier. Without `expand_width` a 1x1 convolution with batch norm before pooling."""
    head_act: Activation
    bn_eps: float
    resolutions: tuple[int, ...] = tuple(range(128, 225, 4))
    stem_stride: int = 2


OFA_MBV3 = MBTable(
    stem_width=16,
    stem_act="h_swish",
    first_width=16,
    first_act="relu",
    first_residual=True,
    stages=(
        Stage(24, 4, 2, "relu"),
        Stage(40, 4, 2, "relu", se=True),
        Stage(80, 4, 2, "h_swish"),
        Stage(112, 4, 1, "h_swish", se=True),
        Stage(160, 4, 2, "h_swish", se=True),
    ),
    expand_width=960,
    mix_width=1280,
    head_act="h_swish",
    bn_eps=1e-5,
)

OFA_PROXYLESS = MBTable(
    stem_width=32,
    stem_act="relu6",
    first_width=16,
    first_act="relu6",
    first_residual=False,
    stages=tuple(
        Stage(width, blocks, stride, "relu6")
        for width, blocks, stride in ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
    ),
    expand_width=None,
    mix_width=1280,
    head_act="relu6",
    bn_eps=1e-3,
)

# The small-image spaces are ofa_mbv3 for 20 to 32 pixels: its first, third and fifth stage (the ones that halve the map
# there), its head narrowed to match. ReLU6 without squeeze-excite is safe in int8, as in the LPCVC winner's networks.
OFA_SMALL_SE = replace(
    OFA_MBV3,
    stages=tuple(
        replace(stage, width=width, stride=stride)
        for stage, width, stride in zip(OFA_MBV3.stages[::2], (16, 32, 64), (1, 2, 2), strict=True)
    ),
    expand_width=256,
    mix_width=256,
    resolutions=(20, 24, 28),
)
OFA_SMALL = replace(
    OFA_SMALL_SE,
    stem_act="relu6",
    first_act="relu6",
    head_act="relu6",
    stages=tuple(replace(stage, act="relu6", se=False) for stage in OFA_SMALL_SE.stages),
)


class MBSpace(Space):
    """Elastic kernel, expand ratio and depth over an `MBTable`."""

    kernel_sizes = (3, 5, 7)
    expand_ratios = (3, 4, 6)
    depths = (2, 3, 4)

    def __init__(self, name: str, table: MBTable, width_mult: float, resolutions: tuple[int, ...]) -> None:
        self.name, self.table, self.width_mult, self.resolutions = name, table, width_mult, resolutions
        blocks = sum(stage.blocks for stage in table.stages)
        self.genes = (
            *(Gene("ks", i, self.kernel_sizes) for i in range(blocks)),
            *(Gene("e", i, self.expand_ratios) for i in range(blocks)),
            *(Gene("d", i, self._depths(stage)) for i, stage in enumerate(table.stages)),
        )
        slots, block = [Slot("first_conv", (), None), Slot("block_0", (), None)], 0
        for s, stage in enumerate(table.stages):
            for position in range(stage.blocks):
                genes = (block, blocks + block)
                slots.append(Slot(f"block_{block + 1}", genes, (2 * blocks + s, position + 1)))
                block += 1
        head = ("final_expand", "pool", "feature_mix") if table.expand_width else ("feature_mix", "pool")
        self.slots = (*slots, *(Slot(part, (), None) for part in (*head, "classifier")))

    def cardinality(self) -> int:
        product, per_block = 1, len(self.kernel_sizes) * len(self.expand_ratios)
        for stage in self.table.stages:
            product *= sum(per_block**depth for depth in self._depths(stage))
        return product

    def layers(self, arch: Arch, num_classes: int = 1000) -> list[Layer]:
        self.validate(arch)
        assert arch.ks is not None  # validated
        table = self.table
        width = self._width(table.stem_width)
        layers = [
            Layer(name="first_conv", kind="conv", inp=3, out=width, kernel=3, stride=table.stem_stride, act=table.stem_act,
                  resolution=arch.r, bn_eps=table.bn_eps)
        ]  # fmt: skip
        first_width = self._width(table.first_width)
        residual = table.first_residual and width == first_width
        layers.append(
            Layer(name="block_0", kind="mbconv", inp=width, mid=width, out=first_width, kernel=3, act=table.first_act,
                  residual=residual, resolution=layers[-1].out_resolution, bn_eps=table.bn_eps)
        )  # fmt: skip
        block = 0
        for stage, depth in zip(table.stages, arch.d, strict=True):
            for position in range(depth):
                ks, e = arch.ks[block + position], arch.e[block + position]
                layers.append(self._block(f"block_{block + position + 1}", layers[-1], stage, ks, e, position))
            block += stage.blocks
        return layers + self._head(layers[-1], num_classes)

    def _block(self, name: str, before: Layer, stage: Stage, kernel: int, expand: int | float, position: int) -> Layer:
        inp, out = before.out, self._width(stage.width)
        stride = stage.stride if position == 0 else 1
        mid = make_divisible(round(inp * expand))
        se = make_divisible(mid // 4) if stage.se else 0
        residual = stride == 1 and inp == out
        return Layer(name=name, kind="mbconv", inp=inp, mid=mid, out=out, kernel=kernel, stride=stride, act=stage.act, se=se,
                     residual=residual, resolution=before.out_resolution, bn_eps=self.table.bn_eps)  # fmt: skip

    def _head(self, before: Layer, num_classes: int) -> list[Layer]:
        table, r = self.table, before.out_resolution
        mix, act = self._width(table.mix_width), table.head_act
        if table.expand_width:
            width = self._width(table.expand_width)
            head = [
                Layer(name="final_expand", kind="conv", inp=before.out, out=width, act=act, resolution=r, bn_eps=table.bn_eps),
                Layer(name="pool", kind="avgpool", inp=width, out=width, resolution=r),
                Layer(name="feature_mix", kind="linear", inp=width, out=mix, act=act, resolution=1),
            ]
        else:
            head = [
                Layer(name="feature_mix", kind="conv", inp=before.out, out=mix, act=act, resolution=r, bn_eps=table.bn_eps),
                Layer(name="pool", kind="avgpool", inp=mix, out=mix, resolution=r),
            ]
        return [*head, Layer(name="classifier", kind="linear", inp=mix, out=num_classes, bias=True, resolution=1)]

    def _depths(self, stage: Stage) -> tuple[int, ...]:
        return self.depths if stage.blocks > 1 else (1,)

    def _width(self, width: int) -> int:
        return make_divisible(width * self.width_mult)


# ---------------------------------------------------------------------------------------------------- ResNet50D


class ResNetSpace(Space):
    """Elastic depth, expand ratio and width over ResNet50D (ResNet-50 with a deep stem and average-pool shortcuts).

    In `Arch`: d = (stem: 0 or 2, then 0..2 blocks added to each of four stages); e = 18 ratios; w = indices into
    `width_mults` of the stem's two parts and the four stages.
    """

    width_mults = (0.65, 0.8, 1.0)
    expand_ratios = (0.2, 0.25, 0.35)
    base_depths = (2, 2, 4, 2)
    extra_depths = (0, 1, 2)
    stage_widths = (256, 512, 1024, 2048)
    strides = (1, 2, 2, 2)
    stem_width = 64
    bn_eps = 1e-5

    def __init__(self, name: str, resolutions: tuple[int, ...]) -> None:
        self.name, self.resolutions = name, resolutions
        deepest = self.extra_depths[-1]
        blocks = sum(base + deepest for base in self.base_depths)
        stages = len(self.base_depths)
        self.genes = (
            Gene("d", 0, (0, deepest)),
            *(Gene("d", 1 + s, self.extra_depths) for s in range(stages)),
            *(Gene("e", i, self.expand_ratios) for i in range(blocks)),
            *(Gene("w", i, tuple(range(len(self.width_mults)))) for i in range(2 + stages)),
        )
        e, w = 1 + stages, 1 + stages + blocks  # the first columns of expand ratios and of widths
        slots = [Slot("stem_0", (w,), None), Slot("stem_1", (w,), (0, deepest)), Slot("stem_2", (w, w + 1), None)]
        slots.append(Slot("maxpool", (w + 1,), None))
        block = 0
        for s, base in enumerate(self.base_depths):
            for position in range(base + deepest):
                width = w + 2 + s
                widths = (width - 1, width) if position == 0 else (width,)
                depth = None if position < base else (1 + s, position - base + 1)
                slots.append(Slot(f"block_{block}", (e + block, *widths), depth))
                block += 1
        last = w + 1 + stages
        self.slots = (*slots, Slot("pool", (last,), None), Slot("classifier", (last,), None))

    def cardinality(self) -> int:
        product = 2 * len(self.width_mults) ** (2 + len(self.base_depths))
        for base in self.base_depths:
            product *= sum(len(self.expand_ratios) ** (base + extra) for extra in self.extra_depths)
        return product

    def layers(self, arch: Arch, num_classes: int = 1000) -> list[Layer]:
        self.validate(arch)
        assert arch.w is not None  # validated
        mults = [self.width_mults[index] for index in arch.w]
        width = make_divisible(self.stem_width * mults[1])
        # The width of the stem's first part is half of a stem width that was rounded before.
        half = make_divisible(make_divisible(self.stem_width * mults[0]) // 2)
        stem = [("stem_0", 3, half, 2, False), ("stem_1", half, half, 1, True), ("stem_2", half, width, 1, False)]
        layers: list[Layer] = []
        for name, inp, out, stride, skippable in stem:
            if skippable and arch.d[0] == 0:
                continue
            r = layers[-1].out_resolution if layers else arch.r
            layers.append(
                Layer(name=name, kind="conv", inp=inp, out=out, kernel=3, stride=stride, act="relu", residual=skippable,
                      resolution=r, bn_eps=self.bn_eps)
            )  # fmt: skip
        r = layers[-1].out_resolution
        layers.append(Layer(name="maxpool", kind="maxpool", inp=width, out=width, kernel=3, stride=2, resolution=r))
        block = 0
        for s, base in enumerate(self.base_depths):
            out = make_divisible(self.stage_widths[s] * mults[2 + s])
            for position in range(base + arch.d[1 + s]):
                stride = self.strides[s] if position == 0 else 1
                mid = make_divisible(round(out * arch.e[block + position]))
                layers.append(
                    Layer(name=f"block_{block + position}", kind="bottleneck", inp=layers[-1].out, mid=mid, out=out, kernel=3,
                          stride=stride, act="relu", residual=position > 0, resolution=layers[-1].out_resolution,
                          bn_eps=self.bn_eps)
                )  # fmt: skip
            block += base + self.extra_depths[-1]
        out, r = layers[-1].out, layers[-1].out_resolution
        return [
            *layers,
            Layer(name="pool", kind="avgpool", inp=out, out=out, resolution=r),
            Layer(name="classifier", kind="linear", inp=out, out=num_classes, bias=True, resolution=1),
        ]


# ------------------------------------------------------------------------------------------------------------ by name

MB_TABLES = {
    "ofa_mbv3": (OFA_MBV3, 1.0),
    "ofa_proxyless": (OFA_PROXYLESS, 1.3),
    "ofa_small": (OFA_SMALL, 1.0),
    "ofa_small_se": (OFA_SMALL_SE, 1.0),
}
"""The table and the usual width multiplier of every MobileNet-like space."""

SPACES = (*MB_TABLES, "ofa_resnet50")


def get_space(name: str, width_mult: float | None = None, resolutions: Sequence[int] | None = None) -> Space:
    """The space of a name.

    name: one of `SPACES`. ofa_small (ReLU6) and ofa_small_se (h-swish and squeeze-excite) suit images of 20 to 32 pixels.
    width_mult: multiplies every width, rounded to multiples of 8; None is the published one (ofa_resnet50 has its own
      elastic widths and takes none).
    resolutions: the elastic input resolutions in pixels, multiples of 4, ascending; None is the space's own.

    Raises ValueError that names the argument.
    """
    if name not in SPACES:
        raise ValueError(f"name: {name!r} is not one of {', '.join(SPACES)}")
    if width_mult is not None and not 0.05 <= width_mult <= 16:
        raise ValueError(f"width_mult: {width_mult} is not between 0.05 and 16")
    if resolutions is not None:
        resolutions = tuple(int(r) for r in resolutions)
        if not resolutions or any(r < 8 or r % 4 for r in resolutions) or list(resolutions) != sorted(set(resolutions)):
            raise ValueError(f"resolutions: {list(resolutions)} are not ascending multiples of 4, 8 or more")
    if name == "ofa_resnet50":
        if width_mult is not None:
            raise ValueError("width_mult: ofa_resnet50 has elastic widths and takes none")
        return ResNetSpace(name, resolutions or OFA_MBV3.resolutions)
    table, usual = MB_TABLES[name]
    return MBSpace(name, table, usual if width_mult is None else width_mult, resolutions or table.resolutions)


@section
class SpaceParams:
    """Section `space`: the search space of the whole pipeline."""

    name: str
    """A name of `ofa_core.spaces.SPACES`. One with elastic kernel, expand ratio and depth: not ofa_resnet50 here."""
    width_mult: float
    """Multiplies every width; widths are rounded to multiples of 8."""
    resolutions: tuple[int, ...]
    """Elastic input resolutions in pixels, ascending multiples of 4."""

    def __post_init__(self) -> None:
        if self.name == "ofa_resnet50":
            raise ValueError(
                "name: ofa_resnet50 is no space of the pipeline, whose phases shrink kernel, depth and expand ratio"
            )
        self.build()

    def build(self) -> Space:
        """The space itself."""
        return get_space(self.name, self.width_mult, self.resolutions)
