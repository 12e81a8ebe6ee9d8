"""Stock networks to compare searched networks with, as lists of layers: MobileNetV2 and MobileNetV3.

MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018, https://arxiv.org/abs/1801.04381), table 2.
Searching for MobileNetV3 (Howard et al., 2019, https://arxiv.org/abs/1905.02244), tables 1 and 2.
"""

from dataclasses import dataclass

from ofa_core.run.errors import InputError
from ofa_core.space.layers import Activation, Layer, make_divisible

BN_EPS = 1e-3
V2_EXPAND = 6


@dataclass(frozen=True)
class Row:
    """One inverted bottleneck at width 1: kernel, middle and output channels, squeeze-excite, activation, stride."""

    kernel: int
    mid: int
    out: int
    se: bool
    act: Activation
    stride: int


@dataclass(frozen=True)
class Stock:
    """A network at width 1."""

    stem_width: int
    stem_act: Activation
    rows: tuple[Row, ...]
    last_width: int
    """Width of the 1x1 convolution before pooling."""
    mix_width: int | None
    """Features of the linear layer after pooling. None for MobileNetV2, which has no such layer."""
    is_v2: bool = False
    """For MobileNetV2, `last_width` is never reduced, and a block's middle width is a multiple of its rounded input width."""


def _v2_rows() -> tuple[Row, ...]:
    rows, inp = [], 32
    for expand, out, blocks, stride in (
        (1, 16, 1, 1), (V2_EXPAND, 24, 2, 2), (V2_EXPAND, 32, 3, 2), (V2_EXPAND, 64, 4, 2), (V2_EXPAND, 96, 3, 1),
        (V2_EXPAND, 160, 3, 2), (V2_EXPAND, 320, 1, 1),
    ):  # fmt: skip
        for position in range(blocks):
            rows.append(Row(3, inp * expand, out, False, "relu6", stride if position == 0 else 1))
            inp = out
    return tuple(rows)


STOCK = {
    "mobilenet_v2": Stock(32, "relu6", _v2_rows(), 1280, None, is_v2=True),
    "mobilenet_v3_large": Stock(
        16,
        "h_swish",
        (
            Row(3, 16, 16, False, "relu", 1),
            Row(3, 64, 24, False, "relu", 2),
            Row(3, 72, 24, False, "relu", 1),
            Row(5, 72, 40, True, "relu", 2),
            Row(5, 120, 40, True, "relu", 1),
            Row(5, 120, 40, True, "relu", 1),
            Row(3, 240, 80, False, "h_swish", 2),
            Row(3, 200, 80, False, "h_swish", 1),
            Row(3, 184, 80, False, "h_swish", 1),
            Row(3, 184, 80, False, "h_swish", 1),
            Row(3, 480, 112, True, "h_swish", 1),
            Row(3, 672, 112, True, "h_swish", 1),
            Row(5, 672, 160, True, "h_swish", 2),
            Row(5, 960, 160, True, "h_swish", 1),
            Row(5, 960, 160, True, "h_swish", 1),
        ),
        960,
        1280,
    ),
    "mobilenet_v3_small": Stock(
        16,
        "h_swish",
        (
            Row(3, 16, 16, True, "relu", 2),
            Row(3, 72, 24, False, "relu", 2),
            Row(3, 88, 24, False, "relu", 1),
            Row(5, 96, 40, True, "h_swish", 2),
            Row(5, 240, 40, True, "h_swish", 1),
            Row(5, 240, 40, True, "h_swish", 1),
            Row(5, 120, 48, True, "h_swish", 1),
            Row(5, 144, 48, True, "h_swish", 1),
            Row(5, 288, 96, True, "h_swish", 2),
            Row(5, 576, 96, True, "h_swish", 1),
            Row(5, 576, 96, True, "h_swish", 1),
        ),
        576,
        1024,
    ),
}


def stock_layers(family: str, width_mult: float, resolution: int, num_classes: int, total_stride: int = 32) -> list[Layer]:
    """The layers of a stock network.

    family: a key of `STOCK`. width_mult: multiplies all widths; results are rounded to multiples of 8.
    resolution: input resolution in pixels. total_stride: total stride of the last feature map. Below the published 32, the
    first blocks of stride 2 get stride 1, as is usual for small images. The stem keeps its stride.

    Raises InputError, naming the argument, for a value that is not supported.
    """
    if family not in STOCK:
        raise InputError(f"family: {family!r} is not one of {', '.join(STOCK)}")
    if total_stride not in (2, 4, 8, 16, 32):
        raise InputError(f"total_stride: {total_stride} is not one of 2, 4, 8, 16, 32")
    stock, resolution_kept = STOCK[family], 6 - total_stride.bit_length()  # number of blocks that lose their stride

    def wide(width: int) -> int:
        return make_divisible(width * width_mult)

    layers = [
        Layer(name="first_conv", kind="conv", inp=3, out=wide(stock.stem_width), kernel=3, stride=2, act=stock.stem_act,
              resolution=resolution, bn_eps=BN_EPS)
    ]  # fmt: skip
    for i, row in enumerate(stock.rows):
        before, stride, out = layers[-1], row.stride, wide(row.out)
        if stride == 2 and resolution_kept:
            stride, resolution_kept = 1, resolution_kept - 1
        if i == 0:
            mid = before.out  # the first block does not expand
        elif stock.is_v2:
            mid = before.out * V2_EXPAND
        else:
            mid = wide(row.mid)
        # As published, residual connections are where stride is 1 and the width stays the same. Removed strides add none.
        residual = row.stride == 1 and before.out == out
        layers.append(
            Layer(name=f"block_{i}", kind="mbconv", inp=before.out, mid=mid, out=out, kernel=row.kernel, stride=stride,
                  act=row.act, se=make_divisible(mid // 4) if row.se else 0, residual=residual,
                  resolution=before.out_resolution, bn_eps=BN_EPS)
        )  # fmt: skip
    before = layers[-1]
    width = max(wide(stock.last_width), stock.last_width if stock.is_v2 else 0)
    mix = width if stock.mix_width is None else wide(stock.mix_width)
    layers.append(
        Layer(name="final_expand", kind="conv", inp=before.out, out=width, act=stock.rows[-1].act,
              resolution=before.out_resolution, bn_eps=BN_EPS)
    )  # fmt: skip
    layers.append(Layer(name="pool", kind="avgpool", inp=width, out=width, resolution=before.out_resolution))
    if stock.mix_width is not None:
        layers.append(Layer(name="feature_mix", kind="linear", inp=width, out=mix, act="h_swish", bias=True, resolution=1))
    return [*layers, Layer(name="classifier", kind="linear", inp=mix, out=num_classes, bias=True, resolution=1)]
