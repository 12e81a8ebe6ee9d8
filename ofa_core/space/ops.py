"""Operations: what layers are made of, as plain data.

`ofa_core.space.layers.lower` turns a layer into a list of them. Everything else interprets that list: costs, the
TensorFlow network, fake quantisation, the operators a converted file may hold, the points of activation ranges.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Activation = Literal["none", "relu", "relu6", "h_swish", "sigmoid"]
Padding = Literal["symmetric", "same"]
"""What a window sees beyond the edge of its map.

symmetric  kernel // 2 on every side, as in PyTorch
same       TensorFlow's SAME: with a 3x3 kernel and stride 2, an even map is padded on the far side only
"""
HardSwish = Literal["fused", "composed"]
"""How x / 6 * relu6(x + 3) is computed in an integer file: in one operator, or in three."""
OpKind = Literal[
    "conv", "depthwise", "linear", "add", "mul", "divide", "shift", "hard_swish", "mean", "flat_mean", "maxpool", "avgpool",
    "join", "sigmoid",
]  # fmt: skip
"""conv        convolution of all channels, plus `constant`      add         sum of two inputs
depthwise   convolution of each channel by itself             mul         product of two inputs
linear      matrix product of a vector                        divide      input / `constant`
hard_swish  x / 6 * relu6(x + 3)                              shift       input + `constant`
maxpool     largest value of each window                      mean        mean of each channel, a map of 1 x 1
avgpool     mean of each window, without its padding          flat_mean   the same as a vector
join        maps as rows of `out` values, one after the other   sigmoid   logistic function"""

IMAGE = "image"
"""The point of a network's input."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation with its activation. All maps are square."""

    kind: OpKind
    point: str
    """The name of what is computed: a layer, or a place inside it such as `block_1.expand`."""
    inputs: tuple[str, ...]
    """The points that are read."""
    weights: str | None = None
    """The submodule whose weights it uses, after its layer, such as `block_1.expand`; None if none."""
    inp: int
    """Input channels."""
    out: int
    """Output channels."""
    resolution: int
    """Height and width of the input map; 1 for vectors."""
    kernel: int = 1
    stride: int = 1
    padding: Padding = "symmetric"
    act: Activation = "none"
    """Applied last. Never h_swish or sigmoid, which `lower` makes operations of their own."""
    constant: float = 0.0
    """See `OpKind`."""
    norm: bool = False
    """Whether a batch norm follows the weights; it is folded into them before a file is written."""
    bias: bool = False

    @property
    def layer(self) -> str:
        """The name of the layer it is part of."""
        return self.point.partition(".")[0]

    @property
    def pools(self) -> bool:
        """Whether its output has the range of its input: TFLite's integer kernels use one scale for both."""
        return self.kind in ("maxpool", "avgpool")

    @property
    def fixed_range(self) -> tuple[float, float] | None:
        """The range that TFLite's integer kernel sets, whatever the values: a sigmoid's scale is 1/256, its zero point -128."""
        return (0.0, 255 / 256) if self.kind == "sigmoid" else None

    @cached_property
    def out_resolution(self) -> int:
        """Height and width of the output map: for either padding, the input's over the stride, rounded up. 1 for rows."""
        return 1 if self.kind in ("mean", "flat_mean", "linear", "join") else -(-self.resolution // self.stride)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        window = self.kernel**2 * self.out_resolution**2
        if self.kind in ("conv", "linear"):
            return self.inp * self.out * window
        return self.out * window if self.kind == "depthwise" else 0

    @cached_property
    def params(self) -> int:
        """Trainable numbers: weights, bias, and the scale and shift of the batch norm."""
        if self.weights is None:
            return 0
        inputs = 1 if self.kind == "depthwise" else self.inp
        return inputs * self.out * self.kernel**2 + self.out * (2 * self.norm + self.bias)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) of a side of `size` pixels.

    tf.nn.convolution, "Padding" (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2).
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pads(padding: Padding, size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The padding (before, after) of a side of `size` pixels."""
    return (kernel // 2, kernel // 2) if padding == "symmetric" else same_padding(size, kernel, stride)
