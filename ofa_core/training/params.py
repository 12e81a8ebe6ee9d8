"""Parameters of training: what all phases share, the full network, and progressive shrinking.

What comes after training has modules of its own, so that an edit there does not train the super-network again.
"""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.run.paths import is_path
from ofa_core.space.base import Space

Rate = Annotated[float, Field(gt=0, le=100)]
Epochs = Annotated[float, Field(gt=0, le=10000)]
EpochsOrNone = Annotated[float, Field(ge=0, le=10000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Area = Annotated[float, Field(gt=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0)]
CHOICES = {"ks": "kernel_sizes", "d": "depths", "e": "expand_ratios", "w": "widths"}
"""Fields of `Arch` and the parameters of a phase that bound them."""
DistillWeight = Annotated[float, Field(ge=0, le=10)]
Role = Literal["largest", "middle", "smallest"]
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
    final_lr: Annotated[float, Field(ge=0, le=1)]
    """Learning rate at the end of every training, as a share of its peak. 0: decays to zero."""
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
            raise InputError(f"batch_size: {self.batch_size} cannot be cut into {self.accumulate} equal parts (accumulate)")
        if self.crop_scale is not None and self.crop_scale[0] > self.crop_scale[1]:
            raise InputError(f"crop_scale: {list(self.crop_scale)} is not ascending")

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
        return self.crop_scale is not None and self.crop_scale != (1, 1)


@section
class TrainSupernetParams:
    """Training of the full network, the largest of the space."""

    epochs: EpochsOrNone
    """Passes over the train split; fractions are allowed. 0: the weights of `init` stay as they are, for all sub-networks that
    they were trained for."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay follows, to `training.final_lr`."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""
    init: str | None
    """Weights to start from, trained on ImageNet. A name: efficientnet_lite0, efficientnet_lite1 or efficientnet_lite2, for the
    spaces ofa_lite, ofa_lite1 and ofa_lite2; or a published super-network, such as ofa_mbv3_d234_e346_k357_w1.2 (`ofa fetch`
    lists them). Or a path: a file of this pipeline, or a checkpoint in the published once-for-all layout. Pixels are then
    normalised as they were for these weights. The classifier is kept if the number of classes is the same. null: random
    weights."""
    init_md5: str | None
    """MD5 of the file whose path `init` is, so that DVC notices another file. null for a name, and without `init`."""
    linear: bool
    """Whether the classifier is first fitted alone, on the features of the weights to start from. Where all weights then train,
    the better of both on val, at all resolutions, is kept: few images do not make it worse than a linear classifier. Needs
    `init`."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if (self.init is not None and is_path(self.init)) != (self.init_md5 is not None):
            raise InputError("init_md5: goes with a path as init; both or none")
        if self.linear and self.init is None:
            raise InputError("linear: true: needs init; features of random weights say nothing")
        if not self.epochs and self.init is None:
            raise InputError("epochs: 0: needs init; random weights must be trained")


@section
class RoleParams:
    """The sub-networks of one role in a step, and what they learn from."""

    subnets: Annotated[int, Field(ge=1, le=64)]
    """Sub-networks per step: 1 for largest and smallest, any number for middle."""
    labels: Annotated[float, Field(ge=0, le=10)]
    """Weight of the loss on labels."""
    soft: Annotated[float, Field(ge=0, le=10)]
    """Weight of the distillation loss against the teacher's probabilities."""

    def __post_init__(self) -> None:
        if not self.labels + self.soft:
            raise InputError("labels: 0, and soft too: these sub-networks would learn nothing; leave out the role")


@section
class PhaseParams:
    """A phase of progressive shrinking: which choices it samples, what they learn from, and for how long it trains."""

    init: str
    """Phase whose weights this one starts from. full is the full network."""
    roles: dict[Role, RoleParams]
    """The sub-networks of a step by role: largest and smallest of the phase (the sandwich rule of BigNAS), and middle, drawn at
    random. Any of them may be left out. Each has a resolution of its own, drawn at random."""
    teacher: Literal["none", "full", "largest"]
    """Source of soft targets. full: the fixed full network. largest: the step's largest sub-network (in-place distillation)."""
    epochs: EpochsOrNone
    """Passes over the train split; fractions are allowed. 0: nothing is trained; the phase only bounds the space."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay follows, to `training.final_lr`."""
    lr: Rate
    """Peak learning rate of a whole batch, whatever the number of processes."""
    kernel_sizes: Choices | None = None
    """Kernel sizes in pixels that are sampled, ascending; independently for each block. null or left out: all of the space."""
    depths: Choices | None = None
    """Blocks per stage that are sampled, ascending; independently for each stage. null or left out: all of the space."""
    expand_ratios: Choices | None = None
    """Expand ratios that are sampled, ascending; independently for each block. null or left out: all of the space."""
    widths: Choices | None = None
    """Output channels (at multiplier 1) that are sampled, ascending. null or left out: all of the space."""
    draw: Literal["uniform", "latency"] = "uniform"
    """How middle sub-networks are drawn. uniform: every gene and the resolution independent, as in Once-for-All. latency: near
    a latency that is log-uniform in `latency_ms`, by `shrink.latency_table`, as AttentiveNAS does with MACs."""
    latency_ms: tuple[Milliseconds, Milliseconds] | None = None
    """Range of latencies for draw: latency. null or left out: from the fastest to the slowest network of the phase."""
    gradients: Literal["sum", "mean"] = "sum"
    """What becomes of the gradients of a step's sub-networks. Published code of Once-for-All and BigNAS: sum."""
    regularise: Literal["all", "largest"] = "all"
    """Sub-networks with label smoothing and dropout. largest: as in BigNAS, for small networks underfit anyway."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if not self.roles:
            raise InputError("roles: empty; a step needs a sub-network")
        for role, params in self.roles.items():
            if role != "middle" and params.subnets != 1:
                raise InputError(f"roles.{role}.subnets: {params.subnets}: there is only 1")
        self._check_teacher()
        if self.latency_ms is not None and (self.draw != "latency" or self.latency_ms[0] >= self.latency_ms[1]):
            raise InputError(f"latency_ms: {list(self.latency_ms)}: goes with draw: latency, the smaller one first")
        for field in CHOICES.values():
            values = getattr(self, field)
            if values is not None and list(values) != sorted(set(values)):
                raise InputError(f"{field}: {list(values)} is not ascending")

    def _check_teacher(self) -> None:
        taught = [role for role, params in self.roles.items() if params.soft]
        if self.teacher == "none" and taught:
            raise InputError(f"roles.{taught[0]}.soft: {self.roles[taught[0]].soft}: teacher is none")
        if self.teacher != "none" and not taught:
            raise InputError(f"teacher: {self.teacher}: has no pupil, for soft is 0 in all roles; none says so")
        if self.teacher == "largest" and ("largest" not in self.roles or "largest" in taught):
            raise InputError("teacher: largest: needs the role largest, with soft 0: it cannot teach itself")

    def part(self, space: Space) -> Space:
        """The part of the space that the phase samples. Raises InputError, naming the key, for a choice that it lacks."""
        try:
            return space.restrict({field: getattr(self, key) for field, key in CHOICES.items()})
        except InputError as error:
            field, _, rest = str(error).partition(":")
            raise InputError(f"{CHOICES[field]}:{rest}") from None


@section
class ShrinkParams:
    """Progressive shrinking: phases that add smaller choices to the super-network step by step."""

    latency_table: str
    """Path of the latency table for phases with draw: latency. With a table in git, training neither waits for a measurement
    nor changes with it. build/latency/DEVICE.json: the device is measured first, and every new measurement trains anew."""
    validate_epochs: Epochs
    """Epochs between measurements of the smallest, the middle and the largest sub-network on val while a phase trains."""
    last: str
    """Phase whose weights are measured, searched and specialised."""
    phases: Annotated[dict[str, PhaseParams], Field(min_length=1)]
    """The phases by name, in any order. `init` links them."""

    def __post_init__(self) -> None:
        for name, phase in self.phases.items():
            seen = {name}
            while phase.init != "full":
                if phase.init in seen or phase.init not in self.phases:
                    raise InputError(f"phases.{name}.init: {phase.init} does not lead back to full")
                seen.add(phase.init)
                phase = self.phases[phase.init]
        if self.last not in self.phases:
            raise InputError(f"last: {self.last} is not one of {', '.join(self.phases)}")


def check_warmup(epochs: float, warmup_epochs: float) -> None:
    """Raises InputError that names the key where the warm-up leaves nothing of the epochs."""
    if warmup_epochs >= epochs and warmup_epochs:
        raise InputError(f"warmup_epochs: {warmup_epochs} is not less than epochs ({epochs})")
