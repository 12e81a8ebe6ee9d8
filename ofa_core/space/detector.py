"""Detectors as lists of layers: a backbone up to its last map, smaller maps behind it, and two predicting ends on all maps.

SSD: Single Shot MultiBox Detector (Liu et al., 2016, https://arxiv.org/abs/1512.02325). SSDLite's depthwise heads are those of
MobileNetV2 (Sandler et al., 2018, https://arxiv.org/abs/1801.04381, section 6.2). A detector is searched as a whole:
`DetectorSpace` adds the width of the heads to the choices of the backbone's space.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Gene, Slot, Space
from ofa_core.space.graph import lower_network
from ofa_core.space.layers import Activation, Layer, tuples

BOXES, CLASSES = "boxes", "classes"
"""The layers at the ends: box encodings (B, anchors, 4), and scores (B, anchors, classes), a sigmoid of CLASS_LOGITS."""
CLASS_LOGITS = f"{CLASSES}.logits"
CODES = 4
"""Numbers that encode a box."""


class Map(NamedTuple):
    """A map that is predicted on. side: its height and width."""

    point: str
    channels: int
    side: int


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a detector has besides its backbone.

    kind: ssd predicts by convolutions of all channels, ssdlite by depthwise 3x3 convolutions and 1x1 convolutions.
    taps: points of the backbone whose maps are predicted on, largest map first, such as `block_13.expand`. They must exist at
      every depth: in the first block of a stage, or behind the stages.
    extra: channels (before, after) of each smaller map behind the backbone: a 1x1 convolution, then 3x3 with stride 2.
    anchors: for each map, the number of boxes at a position.
    widths: choices of the heads' width: each map first passes a 1x1 convolution to that many channels. None: no such layer.
    kernel: of ssd's predicting convolutions. act: of all new layers but those that predict.

    Raises InputError that begins with the field.
    """

    kind: Literal["ssd", "ssdlite"]
    taps: tuple[str, ...]
    extra: tuple[tuple[int, int], ...]
    anchors: tuple[int, ...]
    widths: tuple[int, ...] = ()
    kernel: int = 1
    act: Activation = "relu6"

    def __post_init__(self) -> None:
        if self.kind not in ("ssd", "ssdlite"):
            raise InputError(f"kind: {self.kind!r} is not one of ssd, ssdlite")
        if not self.taps:
            raise InputError("taps: none")
        if len(self.anchors) != (maps := len(self.taps) + len(self.extra)) or min(self.anchors) < 1:
            raise InputError(f"anchors: {list(self.anchors)}: must be {maps} numbers from 1, one for each map")
        if list(self.widths) != sorted(set(self.widths)) or any(width < 8 for width in self.widths):
            raise InputError(f"widths: {list(self.widths)} are not ascending numbers, 8 or more")
        if self.kernel % 2 == 0:
            raise InputError(f"kernel: {self.kernel} is not odd")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Heads":
        """The heads of fields as JSON keeps them."""
        return cls(**{name: tuples(value) for name, value in fields.items()})

    @property
    def maps(self) -> int:
        """The number of maps that are predicted on."""
        return len(self.anchors)


class DetectorSpace(Space):
    """The detectors of a backbone's space. With elastic heads, the last entry of `Arch.w` is their width.

    Raises InputError, naming the field, for a tap that not all networks of the backbone have.
    """

    outputs = (BOXES, CLASS_LOGITS)

    def __init__(self, backbone: Space, heads: Heads) -> None:
        self.backbone, self.heads = backbone, heads
        self.name, self.resolutions = f"{backbone.name}_{heads.kind}", backbone.resolutions
        self.backbone_widths = sum(gene.field == "w" for gene in backbone.genes)
        width = (Gene("w", self.backbone_widths, heads.widths),) if heads.widths else ()
        self.genes = (*backbone.genes, *width)
        self.slots = tuple(self._slots())

    def description(self) -> dict[str, Any]:
        return {"backbone": self.backbone.description(), "heads": asdict(self.heads), "choices": self.choices}

    def layers(self, arch: Arch, num_classes: int = 1000) -> list[Layer]:
        self.validate(arch)
        width = None
        if self.heads.widths:
            assert arch.w is not None  # validated
            *rest, width = arch.w
            arch = replace(arch, w=tuple(rest) or None)
        return detector_layers(features(self.backbone.layers(arch)), self.heads, num_classes, width)

    def map_sides(self, resolution: int) -> tuple[int, ...]:
        """Height and width of each map at an input resolution; the same for all networks."""
        largest = self.layers(self.largest(resolution), 1)
        return tuple(layer.out_resolution for layer in largest if layer.name in _names(BOXES, self.heads.maps))

    def _slots(self) -> list[Slot]:
        slots = {slot.name: slot for slot in self.backbone.slots}
        smallest = {column: gene.choices[0] for column, gene in enumerate(self.genes) if gene.field == "d"}
        kept = features(self.backbone.layers(self.backbone.largest()))
        found = [slots[layer.name] for layer in kept]
        width = (len(self.genes) - 1,) if self.heads.widths else ()

        def channels(point: str) -> tuple[int, ...]:
            """The genes on which the channels of a point of the backbone depend."""
            name = point.partition(".")[0]
            if name not in slots or name not in {layer.name for layer in kept}:
                raise InputError(f"taps: {point} is not a point of {self.backbone.name}'s maps")
            if (depth := slots[name].depth) is not None and depth[1] > smallest[depth[0]]:
                raise InputError(f"taps: {point} is missing in the shallowest networks of {self.backbone.name}")
            return tuple(column for column in slots[name].genes if self.genes[column].field != "ks")

        for layer in detector_layers(kept, self.heads, 1, self.heads.widths[-1] if width else None)[len(kept) :]:
            genes: set[int] = set()
            end, _, place = layer.name.partition("_")
            if end in ("neck", BOXES, CLASSES) and place:
                index = int(place.partition("_")[0])
                tapped = index < len(self.heads.taps) and (end == "neck" or not width)
                genes |= {*(channels(self.heads.taps[index]) if tapped else ()), *width}
            elif layer.name == "extra_0_reduce":
                genes |= {*channels(kept[-1].name)}
            found.append(Slot(layer.name, tuple(sorted(genes)), None))
        return found


def features(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of a classifier up to its last map."""
    maps = [layer.kind not in ("avgpool", "linear") for layer in layers]
    return list(layers[: maps.index(False) if False in maps else len(layers)])


def detector_layers(backbone: Sequence[Layer], heads: Heads, num_classes: int, width: int | None = None) -> list[Layer]:
    """The layers of a detector: those of the backbone, extra maps, heads, and the two ends.

    backbone: up to its last map, see `features`; its padding and epsilon also hold for the rest. num_classes: without
    background. width: of the heads, if they have one.

    Raises InputError, naming the field, for a tap that the backbone lacks.
    """
    common: dict[str, Any] = {"bn_eps": backbone[-1].bn_eps, "padding": backbone[-1].padding, "act": heads.act}
    extra = _extra(backbone[-1], heads, common)
    behind = [Map(layer.name, layer.out, layer.out_resolution) for layer in extra if layer.name in _names("extra", heads.maps)]
    maps, necks = [*(_tapped(backbone, tap) for tap in heads.taps), *behind], list[Layer]()
    if width is not None:
        necks = [
            Layer(
                name=f"neck_{i}", kind="conv", inp=seen.channels, out=width, resolution=seen.side, source=seen.point, **common
            )
            for i, seen in enumerate(maps)
        ]
        maps = [Map(neck.name, width, neck.resolution) for neck in necks]
    ends = [*_end(BOXES, CODES, maps, heads, common), *_end(CLASSES, num_classes, maps, heads, common)]
    return [*backbone, *extra, *necks, *ends]


def _extra(last: Layer, heads: Heads, common: dict[str, Any]) -> list[Layer]:
    """The layers of the smaller maps behind the backbone's last layer."""
    found, before, source = list[Layer](), last, last.name
    for i, (inner, out) in enumerate(heads.extra):
        name, side = f"extra_{i}", before.out_resolution
        found.append(
            Layer(name=f"{name}_reduce", kind="conv", inp=before.out, out=inner, resolution=side, source=source, **common)
        )
        strided: dict[str, Any] = {"inp": inner, "kernel": 3, "stride": 2, "resolution": side} | common
        if heads.kind == "ssd":
            found.append(Layer(name=name, kind="conv", out=out, **strided))
        else:
            wise = Layer(name=f"{name}_wise", kind="depthwise", out=inner, **strided)
            found += [wise, Layer(name=name, kind="conv", inp=inner, out=out, resolution=wise.out_resolution, **common)]
        before, source = found[-1], name
    return found


def _end(end: str, values: int, maps: Sequence[Map], heads: Heads, common: dict[str, Any]) -> list[Layer]:
    """The predicting layers of an end, a number `values` for each box of each map, and their join."""
    found, shapes = list[Layer](), tuple((boxes * values, seen.side) for boxes, seen in zip(heads.anchors, maps, strict=True))
    for name, seen, (out, side) in zip(_names(end, heads.maps), maps, shapes, strict=True):
        source: str | None = seen.point
        if heads.kind == "ssdlite":
            found.append(
                Layer(name=f"{name}_wise", kind="depthwise", inp=seen.channels, out=seen.channels, kernel=3, resolution=side,
                      source=source, **common)
            )  # fmt: skip
            source = None
        found.append(
            Layer(name=name, kind="conv", inp=seen.channels, out=out, resolution=side, bias=True, source=source,
                  kernel=heads.kernel if heads.kind == "ssd" else 1, padding=common["padding"])
        )  # fmt: skip
    join = Layer(name=end, kind="join", inp=values, out=values, resolution=1, maps=shapes, source=_names(end, heads.maps),
                 act="sigmoid" if end == CLASSES else "none")  # fmt: skip
    return [*found, join]


def _names(end: str, maps: int) -> tuple[str, ...]:
    """The layers of a kind, one for each map."""
    return tuple(f"{end}_{i}" for i in range(maps))


def _tapped(backbone: Sequence[Layer], point: str) -> Map:
    """The map of a point. Raises InputError if it is none of the backbone."""
    for op in lower_network(backbone):
        if op.point == point:
            return Map(point, op.out, op.out_resolution)
    raise InputError(f"taps: {point} is not a point of the backbone")
