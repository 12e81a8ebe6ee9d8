"""Parameters of training: what all phases share, the full network, and progressive shrinking.

What comes after it has modules of its own, so that an edit there does not train the super-network anew.
"""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.space.base import Space

Rate = Annotated[float, Field(gt=0, le=100)]
Epochs = Annotated[float, Field(gt=0, le=10000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Area = Annotated[float, Field(gt=0, le=1)]
FIELDS = {"ks": "kernel_sizes", "d": "depths", "e": "expand_ratios"}
"""Fields of `Arch` and the parameters of a phase that bound them."""
DistillWeight = Annotated[float, Field(ge=0, le=10)]
Choices = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


@section
class TrainingParams:
    """Section `training`: what the full network and all phases share."""

    batch_size: Annotated[int, Field(ge=2)]
    """Images per step."""
    momentum: Share
    """Of SGD with Nesterov's momentum."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    """L2 penalty of weights; batch norms and biases have none."""
    label_smoothing: Share
    """Share of the target spread over all classes."""
    dropout: Share
    """Before the classifier."""
    zero_residuals: bool
    """Whether residual blocks start as the identity: the scale of their last batch norm is 0 at first (Goyal et al. 2017)."""
    max_shift: Annotated[float, Field(ge=0, le=0.5)]
    """Augmentation: random shift of the image, up to this share of its side, in either direction."""
    flip: bool
    """Augmentation: mirror half of the images."""
    crop_scale: tuple[Area, Area] | None
    """Augmentation: random crops whose share of the image's area lies between these two, with sides up to 4:3, resized to the
    step's resolution; null or [1, 1]: none."""
    brightness: Annotated[float, Field(ge=0, le=1)]
    """Augmentation: most that an image's brightness changes, as a share of it; published: 32/255 = 0.125."""
    saturation: Annotated[float, Field(ge=0, le=1)]
    """Augmentation: most that an image's saturation changes, as a share of it; published: 0.5."""
    bn_images: Annotated[int, Field(ge=2)]
    """Train images that batch norm statistics are measured on before a sub-network is evaluated; all where there are fewer."""
    accumulate: Annotated[int, Field(ge=1)]
    """Parts that each process cuts its share of a step's images into, to save memory; batch norms see one part at a time."""
    ema_decay: Share
    """Exponential moving average of the weights, which then are the result; weight of the past at every step, 0 is none."""
    device: Literal["auto", "cpu", "cuda"]
    """auto: a GPU where there is one."""
    precision: Literal["float32", "bfloat16"]
    """bfloat16: torch's autocast, for GPUs; weights stay in float32."""
    threads: Annotated[int, Field(ge=0)]
    """CPU threads of a process; 0 is all cores. Results repeat byte for byte at equal threads on equal processors."""
    spike_factor: Annotated[float, Field(gt=1)]
    """A loss this many times that of the steps before, and above that of guessing, or one that is not finite, goes back to the
    last checkpoint."""
    max_rollbacks: Annotated[int, Field(ge=0, le=20)]
    """How often a phase may go back, each time with half the learning rate, before it stops."""

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size: {self.batch_size} cannot be cut into {self.accumulate} equal parts (accumulate)")
        if self.crop_scale is not None and self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale: {list(self.crop_scale)} is not ascending")

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
        return self.crop_scale is not None and self.crop_scale != (1, 1)


@section
class TrainSupernetParams:
    """Section `train_supernet`: training of the full network, the largest of the space."""

    epochs: Epochs
    """Passes over the train split; may be a fraction."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear increase of the rate, part of `epochs`; a cosine to zero follows."""
    lr: Rate
    """Peak learning rate, for the whole batch."""
    init: str | None
    """Weights to start from instead of random ones: a super-network's file of this pipeline, or a checkpoint in the published
    layout. Its classifier is kept where the number of classes is the same, and new where it is not."""
    init_md5: str | None
    """MD5 of that file, which makes a change of it a change of the parameters that DVC sees; null without init."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if (self.init is None) != (self.init_md5 is None):
            raise ValueError("init_md5: goes with init; both or none")


@section
class PhaseParams:
    """An entry of `shrink.phases`: what a phase of progressive shrinking adds to the phase before."""

    init: str
    """The phase whose weights it starts from; `full` is the full network."""
    kernel_sizes: Choices
    depths: Choices
    expand_ratios: Choices
    """What is sampled, independently for every block and stage."""
    sampling: Literal["random", "sandwich"]
    """random: independent draws. sandwich (BigNAS): the largest, the smallest, and random ones between."""
    teacher: Literal["full", "in_place"]
    """Soft targets come from the fixed full network, or from each step's largest sub-network; the latter needs sandwich."""
    subnets: Annotated[int, Field(ge=1, le=64)]
    """Sub-networks per step; their gradients are summed."""
    epochs: Epochs
    warmup_epochs: Annotated[float, Field(ge=0)]
    lr: Rate

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if self.sampling == "sandwich" and self.subnets < 2:
            raise ValueError(f"subnets: {self.subnets}: the sandwich rule needs 2 or more")
        if self.teacher == "in_place" and self.sampling != "sandwich":
            raise ValueError(f"teacher: in_place needs sampling sandwich, not {self.sampling}")
        for field in ("kernel_sizes", "depths", "expand_ratios"):
            values = getattr(self, field)
            if list(values) != sorted(set(values)):
                raise ValueError(f"{field}: {list(values)} is not ascending")

    def choices(self, space: Space) -> list[list[int]]:
        """For every gene of the space the indices of the choices that the phase samples.

        Raises ValueError that names the key when a choice is not of the space.
        """
        allowed = []
        for gene in space.genes:
            field = FIELDS[gene.field]
            # A stage of one block has one depth, whatever the phase says.
            wanted = gene.choices if len(gene.choices) == 1 else getattr(self, field)
            foreign = [choice for choice in wanted if choice not in gene.choices]
            if foreign:
                raise ValueError(f"{field}: {foreign[0]}: allowed are {', '.join(map(str, gene.choices))}")
            allowed.append([gene.choices.index(choice) for choice in wanted])
        return allowed


@section
class ShrinkParams:
    """Section `shrink`: progressive shrinking."""

    distill_weight: DistillWeight
    """Weight of the soft loss against the full network's probabilities; the hard loss has weight 1."""
    last: str
    """The phase whose weights are measured, searched and specialised."""
    phases: Annotated[dict[str, PhaseParams], Field(min_length=1)]
    """By name, in any order; `init` links them."""

    def __post_init__(self) -> None:
        for name, phase in self.phases.items():
            seen = {name}
            while phase.init != "full":
                if phase.init in seen or phase.init not in self.phases:
                    raise ValueError(f"phases.{name}.init: {phase.init} does not lead back to full")
                seen.add(phase.init)
                phase = self.phases[phase.init]
        if self.last not in self.phases:
            raise ValueError(f"last: {self.last} is not one of {', '.join(self.phases)}")


def check_warmup(epochs: float, warmup_epochs: float) -> None:
    """Raises ValueError that names the key where the warm-up leaves nothing of the epochs."""
    if warmup_epochs >= epochs:
        raise ValueError(f"warmup_epochs: {warmup_epochs} is not less than epochs ({epochs})")
