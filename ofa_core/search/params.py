"""Parameters of the search."""

from typing import Annotated

from pydantic import Field

from ofa_core.params import section


@section
class TargetParams:
    """An entry of `search.targets`: one of the two, the other null or left out."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Most predicted milliseconds."""
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """0: the fastest sub-network of the table, 1: the slowest; budgets in between grow linearly. Works on every machine."""

    def __post_init__(self) -> None:
        if (self.latency_ms is None) == (self.fraction is None):
            raise ValueError("latency_ms: give either latency_ms or fraction")


@section
class SearchParams:
    """Section `search`."""

    device: str
    """A name under build_latency_table.devices."""
    population: Annotated[int, Field(ge=4, le=100000)]
    """Architectures kept from one generation to the next, at most."""
    generations: Annotated[int, Field(ge=0, le=100000)]
    targets: Annotated[dict[str, TargetParams], Field(min_length=1)]
    """By name; the released models are called ofa-NAME."""
