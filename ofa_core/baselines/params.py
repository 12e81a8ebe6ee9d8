"""Parameters of networks to compare with."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.training.params import Epochs, Rate, check_warmup


@section
class StockParams:
    """A published network to train from random weights."""

    family: Literal["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]
    """Published network."""
    width_mult: Annotated[float, Field(gt=0, le=4)]
    """Multiplies every width. Widths are rounded to multiples of 8."""
    total_stride: Literal[2, 4, 8, 16, 32]
    """Input pixels per pixel of the last feature map. Published: 32; less suits small images."""
    resolution: Annotated[int, Field(ge=8, le=1024)]
    """Input resolution in pixels."""


@section
class SubnetParams:
    """A sub-network with the same choice everywhere, or the nearest that a block or stage has, to train by itself.

    Where widths are elastic, every row has its largest.
    """

    kernel_size: int
    """Kernel size in pixels of every block, a choice of at least one."""
    depth: int
    """Blocks of every stage, a choice of at least one."""
    expand_ratio: int
    """Expand ratio of every block, a choice of at least one."""
    resolution: int
    """Input resolution in pixels, one of the space's."""

    def arch(self, space: Space) -> Arch:
        """The architecture. Raises InputError that names the key when a choice is not of the space."""
        wanted = {"ks": ("kernel_size", self.kernel_size), "d": ("depth", self.depth), "e": ("expand_ratio", self.expand_ratio)}
        values: dict[str, Any] = {"r": self.resolution}
        for field, (key, value) in wanted.items():
            genes = [gene.choices for gene in space.genes if gene.field == field]
            if value not in (known := sorted(set().union(*genes))):
                raise InputError(f"{key}: {value}: allowed are {', '.join(map(str, known))}")
            values[field] = [min(choices, key=lambda choice: abs(choice - value)) for choices in genes]
        if self.resolution not in space.resolutions:
            raise InputError(f"resolution: {self.resolution}: allowed are {', '.join(map(str, space.resolutions))}")
        return Arch.from_dict(values | {"w": space.largest().w})


@section
class TrainBaselinesParams:
    """Networks trained one by one, to compare the searched ones with. There are none by default."""

    epochs: Epochs
    """Passes over the train split for each network. For a fair comparison: as many as the full network and all phases
    together."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    """Epochs of linear warm-up at the start, part of `epochs`. A cosine decay to zero follows."""
    lrs: Annotated[tuple[Rate, ...], Field(min_length=1)]
    """Peak learning rates of a whole batch, ascending. Each network is trained with each of them, and the best on val is kept.
    A training that had to go back to a checkpoint (`training.spike_factor`) is never kept. If that of the lowest rate did so,
    half the rate is tried."""
    pretrained: bool
    """Whether sub-networks start from the weights of `train_supernet.init`, like the super-network; else from random ones. The
    full network of the space at several resolutions is what one would fine-tune without a search."""
    networks: dict[str, StockParams]
    """Stock networks by name. The same network at several resolutions is as many entries."""
    subnets: dict[str, SubnetParams]
    """Sub-networks by name. No name may be that of a stock network."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if list(self.lrs) != sorted(set(self.lrs)):
            raise InputError(f"lrs: {list(self.lrs)} is not ascending")
        if twice := sorted(set(self.networks) & set(self.subnets)):
            raise InputError(f"subnets.{twice[0]}: a network has this name already")

    @property
    def families(self) -> dict[str, str]:
        """The family of each network by name, stock networks first: alone, if it is a sub-network."""
        return {name: network.family for name, network in self.networks.items()} | dict.fromkeys(self.subnets, "alone")
