"""Parameters of fine-tuning searched networks."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.training.params import DistillWeight, Rate, Share, check_warmup


@section
class SpecializeParams:
    """Section `specialize`."""

    max_top1_change: Annotated[float, Field(gt=0, le=1)]
    """Most that validation top-1 (0..1) of the written network, in a fresh process, may differ from that of the network in
    memory, which without fine-tuning is the super-network's."""
    epochs: Annotated[float, Field(ge=0, le=1000)]
    """Passes over the train split to fine-tune each searched network for, the full network teaching; 0 is none."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    lr: Rate
    distill_weight: DistillWeight
    """Weight of the soft loss against the full network's probabilities; the hard loss has weight 1."""
    quantization: Literal["post", "aware", "both"]
    """What is fine-tuned: a float network, quantised afterwards; a network that rounds as its integer file will; or both, from
    the same start on the same images, of which export releases the better one."""
    delay: Share
    """Share of the epochs of quantisation-aware training before activations are rounded; weights are from the first step."""
    ranges: Literal["observed", "learned"]
    """Of activations, in quantisation-aware training: moving averages of what batches hold, or bounds with gradients (LSQ,
    TQT)."""

    def __post_init__(self) -> None:
        if self.epochs:
            check_warmup(self.epochs, self.warmup_epochs)
        elif self.quantization != "post":
            raise ValueError(f"quantization: {self.quantization} needs epochs to train for, not 0")
