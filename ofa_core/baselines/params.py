"""Parameters of networks to compare with."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.training.params import Epochs, Rate, check_warmup


@section
class StockParams:
    """An entry of `train_baselines.networks`: a stock network."""

    family: Literal["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]
    width_mult: Annotated[float, Field(gt=0, le=4)]
    """Multiplies all widths, rounded to multiples of 8."""
    total_stride: Literal[2, 4, 8, 16, 32]
    """Of the last map; less than the published 32 suits small images."""
    resolution: Annotated[int, Field(ge=8, le=1024)]
    """Of the input, in pixels."""


@section
class SubnetParams:
    """An entry of `train_baselines.subnets`: a sub-network with the same choice everywhere, trained from nothing."""

    kernel_size: int
    depth: int
    expand_ratio: int
    resolution: int

    def arch(self, space: Space) -> Arch:
        """The architecture. Raises ValueError that names the key when a choice is not of the space."""
        wanted = {"ks": ("kernel_size", self.kernel_size), "d": ("depth", self.depth), "e": ("expand_ratio", self.expand_ratio)}
        values: dict[str, list[int]] = {"ks": [], "d": [], "e": []}
        for gene in sorted(space.genes, key=lambda gene: gene.position):
            key, value = wanted[gene.field]
            value = value if len(gene.choices) > 1 else int(gene.choices[0])
            if value not in gene.choices:
                raise ValueError(f"{key}: {value}: allowed are {', '.join(map(str, gene.choices))}")
            values[gene.field].append(value)
        if self.resolution not in space.resolutions:
            raise ValueError(f"resolution: {self.resolution}: allowed are {', '.join(map(str, space.resolutions))}")
        return Arch(tuple(values["ks"]), tuple(values["e"]), tuple(values["d"]), self.resolution)


@section
class TrainBaselinesParams:
    """Section `train_baselines`: networks trained one by one, to compare with; none by default."""

    epochs: Epochs
    """Passes over the train split for each. A fair number is that of the full network and all phases together."""
    warmup_epochs: Annotated[float, Field(ge=0)]
    lr: Rate
    networks: dict[str, StockParams]
    """By name."""
    subnets: dict[str, SubnetParams]
    """By name, other names than the networks'."""

    def __post_init__(self) -> None:
        check_warmup(self.epochs, self.warmup_epochs)
        if twice := sorted(set(self.networks) & set(self.subnets)):
            raise ValueError(f"subnets.{twice[0]}: a network has this name already")
