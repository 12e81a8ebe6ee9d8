"""Parameters of training: what all phases share, the full network, and progressive shrinking.

What comes after training has modules of its own, so that an edit there does not train the super-network again.
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
    """What the training of the full network and of all phases shares."""

    batch_size: Annotated[int, Field(ge=2)]
    """Images per step, over all processes."""
    momentum: Share
    """Momentum of SGD, in Nesterov's form."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    """L2 penalty on weights. Batch norms and biases have none."""
    label_smoothing: Share
    """Share of the target probability that is spread over all classes."""
    dropout: Share
    """Dropout probability before the classifier."""
    zero_residuals: bool
    """Whether residual blocks start as the identity: the scale of their last batch norm starts at 0 (Goyal et al. 2017)."""
    max_shift: Annotated[float, Field(ge=0, le=0.5)]
    """Augmentation: largest random shift, as a share of the image's side, in each direction. 0: none."""
    flip: bool
    """Augmentation: whether half of the images are mirrored."""
    crop_scale: tuple[Area, Area] | None
    """Augmentation: smallest and largest area of a random crop, as a share of the image's area. Sides are at most 4:3, and
    the crop is resized to the step's resolution. null or [1, 1]: no crops."""
    brightness: Annotated[float, Field(ge=0, le=1)]
    """Augmentation: largest change of brightness, as a share of it. 0: none. Published: 32/255 = 0.125."""
    saturation: Annotated[float, Field(ge=0, le=1)]
    """Augmentation: largest change of saturation, as a share of it. 0: none. Published: 0.5."""
    bn_images: Annotated[int, Field(ge=2)]
    """Train images used to measure batch norm statistics before a sub-network is evaluated. Fewer if there are fewer."""
    accumulate: Annotated[int, Field(ge=1)]
    """Parts that each process splits its share of a step's images into, to save memory. Batch norms see one part at a time."""
    ema_decay: Share
    """Weight of the past in an exponential moving average of the weights, which is then the result. 0: no average."""
    device: Literal["auto", "cpu", "cuda"]
    """Device to train on. auto: a GPU if there is one."""
    precision: Literal["float32", "bfloat16"]
    """Precision of computation. bfloat16 is torch's autocast for GPUs; the weights stay in float32."""
    threads: Annotated[int, Field(ge=0)]
    """CPU threads of each process. 0: all cores. On equal processors, equal threads give equal results, byte for byte."""
    spike_factor: Annotated[float, Field(gt=1)]
    """A loss this many times the mean of the last 20 steps, and above that of guessing, sends training back to its last
    checkpoint. So does a loss that is not finite."""
    max_rollbacks: Annotated[int, Field(ge=0, le=20)]
    """How often a phase may go back before it fails. Each time, the learning rate is halved."""

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
    """Training of the full network, the largest of the space."""

    epochs: Epochs
    """Passes over the train split; fractions are allowed."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay to zero follows."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""
    init: str | None
    """Path of weights to start from: a super-network's file of this pipeline, or a checkpoint in the published layout. The
    classifier is kept if the number of classes is the same. null: random weights."""
    init_md5: str | None
    """MD5 of the file `init`, so that DVC notices another file. null without `init`."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if (self.init is None) != (self.init_md5 is None):
            raise ValueError("init_md5: goes with init; both or none")


@section
class PhaseParams:
    """A phase of progressive shrinking: which choices it samples, and for how long it trains."""

    init: str
    """Phase whose weights this one starts from. full is the full network."""
    kernel_sizes: Choices
    """Kernel sizes in pixels that are sampled, ascending; independently for each block."""
    depths: Choices
    """Blocks per stage that are sampled, ascending; independently for each stage."""
    expand_ratios: Choices
    """Expand ratios that are sampled, ascending; independently for each block."""
    sampling: Literal["random", "sandwich"]
    """random: independent draws. sandwich (BigNAS): the largest, the smallest, and random ones in between."""
    teacher: Literal["full", "in_place"]
    """Source of soft targets. full: the fixed full network. in_place: each step's largest sub-network; needs sampling
    sandwich."""
    subnets: Annotated[int, Field(ge=1, le=64)]
    """Sub-networks per step. Their gradients are summed."""
    epochs: Epochs
    """Passes over the train split; fractions are allowed."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay to zero follows."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""

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
    """Progressive shrinking: phases that add smaller choices to the super-network step by step."""

    distill_weight: DistillWeight
    """Weight of the distillation loss against the full network's probabilities. The loss on labels has weight 1."""
    last: str
    """Phase whose weights are measured, searched and specialised."""
    phases: Annotated[dict[str, PhaseParams], Field(min_length=1)]
    """The phases by name, in any order. `init` links them."""

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
