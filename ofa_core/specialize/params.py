"""Parameters of fine-tuning searched networks."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.training.params import DistillWeight, Rate, Share, check_warmup


@section
class SpecializeParams:
    """Fine-tuning of the searched networks, each on its own."""

    max_top1_change: Annotated[float, Field(gt=0, le=1)]
    """Largest difference in top-1 on val (0..1) between the written network, in a fresh process, and the one in memory."""
    epochs: Annotated[float, Field(ge=0, le=1000)]
    """Passes over the train split to fine-tune each searched network. 0: none."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay to zero follows."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""
    teacher: Literal["shrunk", "full", "none"]
    """Source of soft targets beside the labels. shrunk: the largest sub-network after all phases of shrinking. full: the full
    network before shrinking. none: labels only."""
    distill_weight: DistillWeight
    """Weight of the distillation loss against the teacher's probabilities, above 0. The loss on labels has weight 1. Not used
    with teacher none."""
    quantization: Literal["post", "aware", "both"]
    """post: a float network is fine-tuned and quantised afterwards. aware: the network is trained with the rounding of its
    integer file. both: either, from the same start on the same images; export releases the better one."""
    delay: Share
    """Share of the epochs of quantisation-aware training before activations are rounded. Weights are rounded from the first
    step."""
    ranges: Literal["observed", "learned"]
    """Ranges of activations in quantisation-aware training. observed: moving averages over batches. learned: bounds with
    gradients (LSQ, TQT)."""

    def __post_init__(self) -> None:
        if self.teacher != "none" and not self.distill_weight:
            raise InputError(f"distill_weight: 0 ignores teacher {self.teacher}; for labels only, use teacher none")
        if self.epochs:
            check_warmup(self.epochs, self.warmup_epochs)
        elif self.quantization != "post":
            raise InputError(f"quantization: {self.quantization} needs epochs to train for, not 0")
