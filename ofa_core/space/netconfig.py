"""Reads network configurations published by mit-han-lab/once-for-all (net.config, JSON) into layer records.

Any MobileNetV3 or ProxylessNASNets configuration becomes a layer list. A member of a once-for-all space also gives its
architecture.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layers import Activation, Layer, make_divisible
from ofa_core.space.registry import get_space

_ORDER = "weight_bn_act"
_ACTIVATIONS = ("relu", "relu6", "h_swish", None)
_SPACES = {"MobileNetV3": "ofa_mbv3", "ProxylessNASNets": "ofa_proxyless"}
_WIDTH_MULTS = (1.0, 1.2, 1.3, *(i / 20 for i in range(2, 41)))
"""Width multipliers in the order tried: the published ones, then 0.1 to 2 in steps of 0.05."""


def read_config(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError, naming the file, if there is none."""
    try:
        config = json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: not a JSON object")
    return config


def image_size(config: Mapping[str, Any], source: str = "run.config") -> int:
    """The input resolution in pixels in a published run.config. Raises InputError, naming the field, if it has none."""
    return _Fields(config, source).whole("image_size", least=8)


def layers_of_config(config: Mapping[str, Any], resolution: int, source: str = "net.config") -> list[Layer]:
    """The layer list of a published configuration (MobileNetV3 or ProxylessNASNets of mit-han-lab/once-for-all).

    resolution: input resolution in pixels. source: name of the configuration in error messages.
    Blocks are named by position, like their weights. Skipped blocks (ZeroLayer) count.

    Raises InputError, naming the source and the field, for anything that a layer record cannot express.
    """
    fields = _Fields(config, source)
    kind = fields.choice("name", tuple(_SPACES))
    norm = fields.child("bn")
    eps = norm.number("eps")
    norm.fixed(ws_eps=None).known("momentum")
    first = fields.child("first_conv")
    layers = [_conv(first, "first_conv", 3, resolution, eps)]
    blocks = fields.items("blocks")
    for i, block in enumerate(blocks):
        layer = _block(block, f"block_{i}", layers[-1].out, layers[-1].out_resolution, eps)
        layers += [] if layer is None else [layer]
    before, mix = layers[-1], fields.child("feature_mix_layer")
    r = before.out_resolution
    if kind == "MobileNetV3":
        layers.append(_conv(fields.child("final_expand_layer"), "final_expand", before.out, r, eps))
        wide = layers[-1]
        layers.append(Layer(name="pool", kind="avgpool", inp=wide.out, out=wide.out, resolution=wide.out_resolution))
        # A 1x1 convolution without batch norm on a pooled map is a linear layer.
        layers.append(replace(_conv(mix, "feature_mix", wide.out, 1, None), kind="linear"))
    else:
        layers.append(_conv(mix, "feature_mix", before.out, r, eps))
        out = layers[-1].out
        layers.append(Layer(name="pool", kind="avgpool", inp=out, out=out, resolution=layers[-1].out_resolution))
    classifier = fields.child("classifier")
    classifier.fixed(name="LinearLayer", in_features=layers[-1].out, use_bn=False, act_func=None, ops_order=_ORDER)
    bias, classes = classifier.choice("bias", (True, False), True), classifier.whole("out_features")
    classifier.known("dropout_rate")
    fields.known("resolution")
    return [*layers, Layer(name="classifier", kind="linear", inp=layers[-1].out, out=classes, bias=bias, resolution=1)]


def dropout_rate(config: Mapping[str, Any], source: str = "net.config") -> float:
    """Dropout probability before the classifier; 0 if none is given. Raises InputError, naming the field."""
    fields = _Fields(config, source).child("classifier")
    return fields.number("dropout_rate", least=0.0, below=1.0) if "dropout_rate" in fields.values else 0.0


def arch_of_config(config: Mapping[str, Any], resolution: int, source: str = "net.config") -> tuple[str, float, Arch]:
    """Space name, width multiplier and architecture of a configuration that is a member of a once-for-all space.

    Skipped blocks get the first choice of the space. If several multipliers round to the same channels, a published one is
    preferred.

    Raises InputError as `layers_of_config` does, and for a configuration that is not in any space.
    """
    layers = layers_of_config(config, resolution, source)
    name = _SPACES[config["name"]]
    for width_mult in _WIDTH_MULTS:
        arch = _member(get_space(name, width_mult), layers, resolution)
        if arch is not None:
            return name, width_mult, arch
    raise InputError(
        f"{source}: not a sub-network of {name} at any width multiplier from {_WIDTH_MULTS[3]} to {_WIDTH_MULTS[-1]}"
    )


def _member(space: Space, layers: Sequence[Layer], resolution: int) -> Arch | None:
    """The architecture of `space` with exactly these layers, or None."""
    classes, smallest = layers[-1].out, space.smallest(resolution)
    least = space.layers(smallest, classes)
    fixed = (0, 1, -4, -3, -2, -1)  # stem, first block and head: their widths are fixed
    if len(layers) < len(least) or any(layers[i].out != least[i].out for i in fixed):
        return None
    blocks = len(layers) - len(least) + sum(smallest.d)
    stages = space.largest(resolution).d  # the most blocks of each stage
    for choice in product(*(gene.choices for gene in space.genes if gene.field == "d")):
        depths = tuple(map(int, choice))
        if sum(depths) != blocks:
            continue
        n, ratios = len(smallest.e), {ratio for gene in space.genes if gene.field == "e" for ratio in gene.choices}
        by_ratio = {ratio: space.layers(replace(smallest, e=(ratio,) * n, d=depths), classes) for ratio in ratios}
        ks, e = list(smallest.ks or ()), list(smallest.e)
        columns = [sum(stages[:s]) + j for s, depth in enumerate(depths) for j in range(depth)]
        for i, column in enumerate(columns, start=2):  # after stem and first block
            ks[column] = layers[i].kernel
            e[column] = next((ratio for ratio, wide in by_ratio.items() if wide[i].mid == layers[i].mid), 0)
        arch = Arch(tuple(ks), tuple(e), depths, resolution)
        try:
            if space.layers(arch, classes) == list(layers):
                return arch
        except InputError:  # a kernel or a ratio that the space does not have
            continue
    return None


def _conv(fields: "_Fields", name: str, inp: int, resolution: int, eps: float | None) -> Layer:
    """A ConvLayer, with batch norm if eps is given."""
    fields.fixed(name="ConvLayer", in_channels=inp, use_bn=eps is not None, bias=False, dilation=1, groups=1)
    fields.fixed(has_shuffle=False, use_se=False, dropout_rate=0, ops_order=_ORDER)
    kernel, stride, out = fields.odd("kernel_size"), fields.whole("stride"), fields.whole("out_channels")
    if eps is None and (kernel, stride) != (1, 1):
        raise InputError(f"{fields.where}.kernel_size: only 1x1 can follow the pooling")
    act = _activation(fields, None)
    fields.known()
    return Layer(name=name, kind="conv", inp=inp, out=out, kernel=kernel, stride=stride, act=act, resolution=resolution,
                 bn_eps=eps)  # fmt: skip


def _block(fields: "_Fields", name: str, inp: int, resolution: int, eps: float) -> Layer | None:
    """A residual block, or None for one that only passes on its input."""
    style = "conv" if "conv" in fields.values else "mobile_inverted_conv"  # newer and older files
    fields.known("name", "shortcut", style)
    conv = fields.child(style)
    shortcut = fields.values.get("shortcut")
    identity = shortcut is not None and _Fields(shortcut, f"{fields.where}.shortcut").choice(
        "name", ("IdentityLayer", "ZeroLayer")
    ) == "IdentityLayer"  # fmt: skip
    if conv.choice("name", ("MBInvertedConvLayer", "MBConvLayer", "ZeroLayer")) == "ZeroLayer":
        if not identity:
            raise InputError(f"{fields.where}.shortcut: a block without convolution needs one")
        return None
    conv.fixed(in_channels=inp, groups=None)
    out, stride, expand = conv.whole("out_channels"), conv.whole("stride"), conv.number("expand_ratio")
    mid = round(inp * expand) if conv.values.get("mid_channels") is None else conv.whole("mid_channels")
    if (expand == 1) != (mid == inp):
        raise InputError(f"{conv.where}.mid_channels: {mid} of {inp} do not fit an expand_ratio of {expand}")
    se = make_divisible(mid // 4) if conv.choice("use_se", (True, False), False) else 0
    act, kernel = _activation(conv, "relu6"), conv.odd("kernel_size")
    conv.known("mid_channels")
    if identity and (stride != 1 or inp != out):
        raise InputError(f"{fields.where}.shortcut: IdentityLayer does not fit {inp} to {out} channels with stride {stride}")
    return Layer(name=name, kind="mbconv", inp=inp, mid=mid, out=out, kernel=kernel, stride=stride, act=act, se=se,
                 residual=identity, resolution=resolution, bn_eps=eps)  # fmt: skip


def _activation(fields: "_Fields", default: str | None) -> Activation:
    return fields.choice("act_func", _ACTIVATIONS, default) or "none"


class _Fields:
    """The fields of one JSON object. Every error is one line that names the file and the field.

    values: the object. where: the file, and the path of the object in it.
    """

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: {values!r} is not an object")
        self.values, self.where = values, where
        self.seen: set[str] = set()

    def choice(self, name: str, allowed: Sequence[Any], *default: Any) -> Any:
        """A field with one of the allowed values. Required if there is no default."""
        self.seen.add(name)
        value = self.values.get(name, *default)
        if name not in self.values and not default:
            raise InputError(f"{self.where}.{name}: missing")
        if not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in allowed):
            raise InputError(f"{self.where}.{name}: {value!r} is not one of {', '.join(map(repr, allowed))}")
        return value

    def fixed(self, **expected: Any) -> "_Fields":
        """Checks fields that, if present, must have one particular value."""
        for name, value in expected.items():
            self.choice(name, (value,), value)
        return self

    def number(self, name: str, least: float = 1e-12, below: float = 1e12) -> float:
        """A required number, at least `least` and below `below`."""
        self.seen.add(name)
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < below:
            raise InputError(f"{self.where}.{name}: {value!r} is not a number from {least:g} to below {below:g}")
        return value

    def whole(self, name: str, least: int = 1) -> int:
        """A required whole number, at least `least`."""
        value = self.number(name, least)
        if not isinstance(value, int):
            raise InputError(f"{self.where}.{name}: {value!r} is not a whole number")
        return value

    def odd(self, name: str) -> int:
        """A required odd whole number. Padding by half of it keeps the size of the feature map."""
        if self.whole(name) % 2 == 0:
            raise InputError(f"{self.where}.{name}: {self.values[name]} is not odd")
        return self.whole(name)

    def child(self, name: str) -> "_Fields":
        """The object in a field."""
        self.seen.add(name)
        if name not in self.values:
            raise InputError(f"{self.where}.{name}: missing")
        return _Fields(self.values[name], f"{self.where}.{name}")

    def items(self, name: str) -> list["_Fields"]:
        """The objects of a list, at least one."""
        self.seen.add(name)
        values = self.values.get(name)
        if not isinstance(values, list) or not values:
            raise InputError(f"{self.where}.{name}: not a list of objects")
        return [_Fields(value, f"{self.where}.{name}[{i}]") for i, value in enumerate(values)]

    def known(self, *more: str) -> None:
        """Raises InputError for a field that was not read, except `more`."""
        unknown = sorted(set(self.values) - self.seen - set(more))
        if unknown:
            raise InputError(f"{self.where}.{unknown[0]}: unknown field")
