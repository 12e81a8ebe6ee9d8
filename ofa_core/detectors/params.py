"""Parameters of detectors: what they are, how they are trained, and how many are measured."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from ofa_core.detection.anchors import SSDAnchors
from ofa_core.detectors.augment import AREA
from ofa_core.detectors.design import Design
from ofa_core.run.params import section
from ofa_core.space.base import check_resolutions
from ofa_core.space.detector import DetectorSpace, Heads
from ofa_core.space.params import SpaceParams
from ofa_core.space.registry import get_space
from ofa_core.training.params import Epochs, Rate, TrainingParams, check_warmup

Scale = Annotated[float, Field(gt=0, le=1)]


@section
class AnchorParams:
    """Anchors: boxes of several scales and shapes at every position of every map."""

    min_scale: Scale
    """Side of a square anchor on the first map, as a share of the image's. Scales grow evenly from map to map."""
    max_scale: Scale
    """The same on the last map."""
    aspect_ratios: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    """Width divided by height. One more square, between a map's scale and the next, is always added."""
    reduce_lowest: bool
    """Whether the first map has only three anchors, as in TensorFlow's ssd_mobilenet_v2."""
    clip: bool
    """Whether anchors are clipped to the image."""

    def of(self, sides: tuple[int, ...]) -> SSDAnchors:
        """The anchors for maps with these sides. Raises InputError that begins with the key."""
        return SSDAnchors(
            grids=sides, min_scale=self.min_scale, max_scale=self.max_scale, aspect_ratios=self.aspect_ratios,
            reduce_lowest=self.reduce_lowest, clip=self.clip,
        )  # fmt: skip


@section
class DetectorParams:
    """The search space of detectors: the backbones of `space`, at other resolutions, with heads."""

    resolutions: tuple[int, ...]
    """Input resolutions in pixels that the super-network learns: ascending multiples of 4."""
    heads: Literal["ssd", "ssdlite"]
    """ssd: convolutions of all channels predict. ssdlite: depthwise 3x3 and 1x1 convolutions."""
    taps: Annotated[tuple[str, ...], Field(min_length=1)]
    """Points of the backbone whose maps are predicted on, largest map first, such as block_3.expand. They must exist at every
    depth: in the first block of a stage, or behind the stages."""
    extra: tuple[tuple[int, int], ...]
    """Channels (before, after) of each smaller map behind the backbone."""
    widths: tuple[int, ...]
    """Choices of the heads' width, searched with the backbone. Empty: heads read the maps as they are."""
    anchors: AnchorParams
    """Boxes from which those of a detector are told."""

    def design(self, backbone: SpaceParams) -> Design:
        """The space of detectors and their anchors. Raises InputError that begins with the key."""
        check_resolutions(self.resolutions)
        maps = len(self.taps) + len(self.extra)
        heads = Heads(
            kind=self.heads, taps=self.taps, extra=self.extra, anchors=self.anchors.of((1,) * maps).per_position,
            widths=self.widths,
        )  # fmt: skip
        backbone.build()  # checks the file's MD5
        space = DetectorSpace(get_space(backbone.name, backbone.width_mult, self.resolutions), heads)
        return Design(space, self.anchors.of)


@section
class TrainDetectorParams:
    """Training of the elastic detector. What is not here is as in `training`, without label smoothing, dropout and shifts."""

    init: str
    """Path of the weights that the backbone starts from: build/supernet/PHASE.safetensors, or those of `train_supernet.init`,
    build/pretrained/weights.safetensors, which need no stage of classification."""
    pretrained: bool
    """Whether training starts from them. false: random weights."""
    epochs: Epochs
    """Passes over the train split; fractions are allowed."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay follows, to `training.final_lr`."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""
    batch_size: Annotated[int, Field(ge=2)]
    """Images per step, over all processes."""
    optimizer: Literal["sgd", "rmsprop"]
    """What takes the steps, here and in fine-tuning. sgd: with `training.momentum`. rmsprop: TensorFlow's, with decay 0.9,
    momentum 0.9 and epsilon 1, as published SSD detectors were trained; its rates are about a tenth."""
    middle: Annotated[int, Field(ge=0, le=64)]
    """Random sub-networks of a step, besides the largest, which teaches the others, and the smallest."""
    flip: bool
    """Augmentation: whether half of the images are mirrored."""
    crops: bool
    """Augmentation: whether SSD's random crops are used. They hold at least a part of one box."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)

    def of(self, shared: TrainingParams) -> TrainingParams:
        """What the training loop takes, from this and the parameters that all training shares."""
        return replace(
            shared, batch_size=self.batch_size, flip=self.flip, crop_scale=AREA if self.crops else None, label_smoothing=0.0,
            dropout=0.0, max_shift=0.0, accumulate=1,
        )  # fmt: skip


@section
class CollectDetectorParams:
    """Detectors whose average precision is measured, for the predictor to learn from."""

    architectures: Annotated[int, Field(ge=20)]
    """Sub-networks to measure, including the smallest and the largest at every resolution."""
