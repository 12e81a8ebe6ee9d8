"""The ResNet50D space of Once-for-All: elastic depth, expand ratio and width."""

from collections.abc import Sequence
from typing import Any

from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import RESOLUTIONS, Gene, Slot, Space
from ofa_core.space.layers import Layer, make_divisible


class ResNetSpace(Space):
    """ResNet50D (ResNet-50 with a deep stem and average-pool shortcuts) with elastic depth, expand ratio and width.

    In `Arch`, d is the stem (0 or 2) followed by 0..2 added blocks for each of four stages. e has 18 ratios. w has indices into
    `width_mults` for the two parts of the stem and the four stages.
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

    def description(self) -> dict[str, Any]:
        return {"name": self.name, "resolutions": self.resolutions, "choices": self.choices}

    def layers(self, arch: Arch, num_classes: int = 1000) -> list[Layer]:
        self.validate(arch)
        assert arch.w is not None  # validated
        mults = [self.width_mults[index] for index in arch.w]
        width = make_divisible(self.stem_width * mults[1])
        # The width of the stem's first part is half of the rounded stem width.
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


def resnet50(name: str, width_mult: float | None = None, resolutions: Sequence[int] | None = None) -> ResNetSpace:
    """The space at these resolutions in pixels (None: the published ones). Raises InputError for a width multiplier."""
    if width_mult is not None:
        raise InputError(f"width_mult: {name} has elastic widths and takes none")
    return ResNetSpace(name, tuple(RESOLUTIONS if resolutions is None else resolutions))
