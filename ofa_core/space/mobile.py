"""The MobileNet-like once-for-all spaces: tables of stages, and the function that turns an `Arch` into a list of layers.

Once-for-All: Train One Network and Specialize it for Efficient Deployment (Cai et al., ICLR 2020,
https://arxiv.org/abs/1908.09791). The numbers in the tables come from its published code (mit-han-lab/once-for-all).
"""

from dataclasses import dataclass, replace
from typing import Any

from ofa_core.space.arch import Arch
from ofa_core.space.base import Gene, Slot, Space
from ofa_core.space.layers import Activation, Layer, make_divisible

# ---------------------------------------------------------------- mobile inverted bottlenecks: MobileNetV3, ProxylessNAS


@dataclass(frozen=True)
class Stage:
    """One row of a table: output width at multiplier 1, most blocks, stride of the first block, activation, squeeze-excite.

    A stage of one block has a fixed depth. Other stages keep their first 2, 3 or 4 blocks.
    """

    width: int
    blocks: int
    stride: int
    act: Activation
    se: bool = False


@dataclass(frozen=True)
class MBTable:
    """A MobileNet-like space as data. Widths of stem and head are at multiplier 1."""

    stem_width: int
    stem_act: Activation
    first_width: int
    """Width of the fixed first block (3x3, expand ratio 1, stride 1)."""
    first_act: Activation
    first_residual: bool
    stages: tuple[Stage, ...]
    expand_width: int | None
    """Width of MobileNetV3's 1x1 convolution before pooling. With it, the layer of `mix_width` follows pooling, without BN."""
    mix_width: int
    """Features of the classifier. Without `expand_width`, a 1x1 convolution with batch norm before pooling makes them."""
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

# The small-image spaces are ofa_mbv3 for 20 to 32 pixels: its first, third and fifth stages, with a narrower head. ReLU6
# without squeeze-excite is safe in int8, as in the LPCVC winner's networks.
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
    """A space with elastic kernel size, expand ratio and depth, defined by an `MBTable`."""

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

    def description(self) -> dict[str, Any]:
        return {"name": self.name, "width_mult": self.width_mult, "resolutions": self.resolutions, "choices": self.choices}

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


# ------------------------------------------------------------------------------------------------------------ by name
