"""Parameters of what makes a searched detector better: pseudo-labels, fine-tuning, quantisation-aware training."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.params import Epochs, EpochsOrNone, Rate, Share, check_warmup


@section
class PseudoLabelParams:
    """Boxes that a teacher finds in the unlabelled images, for detectors to learn from."""

    file: str | None
    """Path of the COCO results of a teacher of your own, for the images of build/detector/data/unlabelled.json. null: the
    largest network of the elastic detector."""
    file_md5: str | None
    """MD5 of that file, so that DVC notices another one. null without `file`."""
    resolution: Annotated[int, Field(ge=32, multiple_of=4)]
    """Pixels of the images that the largest network sees."""
    min_score: Annotated[float, Field(gt=0, le=1)]
    """Least score of a box that is kept."""

    def __post_init__(self) -> None:
        if (self.file is None) != (self.file_md5 is None):
            raise InputError("file_md5: goes with file; both or none")


@section
class DistillDetectorParams:
    """Fine-tuning of each searched detector, alone."""

    learn_from: Literal["labels", "pseudo_labels", "both"]
    """Boxes of train, those that the teacher finds in the unlabelled images, or both."""
    epochs: EpochsOrNone
    """Passes over these images. 0: the searched network stays as it is."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay follows, to `training.final_lr`."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)

    @property
    def tuning(self) -> SpecializeParams:
        """The same as classification's fine-tuning has it."""
        return SpecializeParams(
            max_top1_change=MAX_CHANGE, epochs=self.epochs, warmup_epochs=self.warmup_epochs, lr=self.lr, teacher="none",
            distill_weight=1.0, quantization="post", delay=0.0, ranges="learned",
        )  # fmt: skip


@section
class QuantizeDetectorParams:
    """Training of each fine-tuned detector with the rounding of its integer file."""

    epochs: Epochs
    """Passes over the train split; fractions are allowed."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay follows, to `training.final_lr`."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""
    delay: Share
    """Share of the epochs before activations are rounded. Weights are rounded from the first step."""
    ranges: Literal["observed", "learned"]
    """Ranges of activations. observed: moving averages over batches. learned: bounds with gradients (LSQ, TQT)."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)

    @property
    def tuning(self) -> SpecializeParams:
        """The same as classification's fine-tuning has it."""
        return SpecializeParams(
            max_top1_change=MAX_CHANGE, epochs=self.epochs, warmup_epochs=self.warmup_epochs, lr=self.lr, teacher="none",
            distill_weight=1.0, quantization="aware", delay=self.delay, ranges=self.ranges,
        )  # fmt: skip


MAX_CHANGE = 0.001
"""Largest difference in average precision between a written network and the one in memory."""
