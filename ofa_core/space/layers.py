"""The layer record: the one description of a network that cost, torch, TensorFlow, ONNX and latency tables share.

A network is a list of `Layer`s in the order they run. `ofa_core.space.mobile` writes such lists from architectures, and
`ofa_core.space.netconfig` reads them off published configurations.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Kind = Literal["conv", "mbconv", "bottleneck", "maxpool", "avgpool", "linear"]
Activation = Literal["none", "relu", "relu6", "h_swish"]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor` and never below 90 % of `value`.

    The rounding of channel numbers of the MobileNet family (MobileNetV2's code; the once-for-all code uses the same).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer with everything needed to count, build, convert or time it. All maps are square.

    kind:
      conv        convolution, batch norm (where bn_eps is set) and activation; `residual` adds the input afterwards
      mbconv      1x1 expansion (left out when mid == inp), depthwise k x k, squeeze-excite (se > 0), 1x1 projection
      bottleneck  ResNet-D: 1x1, 3x3, 1x1; the shortcut is the input, or (not residual) average pool and 1x1 convolution
      maxpool     3x3 with padding 1
      avgpool     over the whole map; the result has no spatial axes
      linear      on a vector
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
    act: Activation = "none"
    se: int = 0
    """Squeezed channels of squeeze-excite; 0 is without."""
    residual: bool = False
    resolution: int
    """Height and width of the input map."""
    bn_eps: float | None = None
    """Epsilon of the batch norms; None is without batch norm."""
    bias: bool = False
    """Whether a linear layer has a bias. Convolutions have none: batch norm follows."""

    @cached_property
    def out_resolution(self) -> int:
        """Height and width of the output map (padding is kernel // 2 everywhere)."""
        if self.kind in ("avgpool", "linear"):
            return 1
        return -(-self.resolution // self.stride)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and linear layers of one image; squeeze-excite's are included."""
        before, after = self.resolution**2, self.out_resolution**2
        if self.kind == "conv":
            return self.inp * self.out * self.kernel**2 * after
        if self.kind == "linear":
            return self.inp * self.out
        if self.kind == "mbconv":
            expansion = 0 if self.mid == self.inp else self.inp * self.mid * before
            depthwise = self.mid * self.kernel**2 * after
            return expansion + depthwise + 2 * self.mid * self.se + self.mid * self.out * after
        if self.kind == "bottleneck":
            shortcut = 0 if self.residual else self.inp * self.out * after
            convolutions = self.inp * self.mid * before + (self.mid**2 * self.kernel**2 + self.mid * self.out) * after
            return convolutions + shortcut
        return 0

    @cached_property
    def params(self) -> int:
        """Trainable numbers: weights, biases, and scale and shift of batch norms."""
        norm = 0 if self.bn_eps is None else 2
        if self.kind == "conv":
            return self.inp * self.out * self.kernel**2 + norm * self.out
        if self.kind == "linear":
            return self.inp * self.out + (self.out if self.bias else 0)
        if self.kind == "mbconv":
            expansion = 0 if self.mid == self.inp else self.inp * self.mid + norm * self.mid
            depthwise = self.mid * self.kernel**2 + norm * self.mid
            squeeze = 2 * self.mid * self.se + self.se + self.mid if self.se else 0
            return expansion + depthwise + squeeze + self.mid * self.out + norm * self.out
        if self.kind == "bottleneck":
            shortcut = 0 if self.residual else self.inp * self.out + norm * self.out
            weights = self.inp * self.mid + self.mid**2 * self.kernel**2 + self.mid * self.out
            return weights + norm * (2 * self.mid + self.out) + shortcut
        return 0

    @cached_property
    def key(self) -> str:
        """A readable name of the layer's shape, equal for layers that do the same work: the key of latency tables."""
        parts = [self.kind, f"{self.resolution}x{self.resolution}x{self.inp}"]
        parts += [f"{self.out_resolution}x{self.out_resolution}x{self.out}"]
        if self.mid:
            parts.append(f"mid:{self.mid}")
        if self.kind in ("conv", "mbconv", "bottleneck", "maxpool"):
            parts += [f"kernel:{self.kernel}", f"stride:{self.stride}"]
        if self.act != "none":
            parts.append(self.act)
        if self.se:
            parts.append(f"se:{self.se}")
        if self.residual:
            parts.append("residual")
        return "-".join(parts)
