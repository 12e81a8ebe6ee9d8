"""Parameters of the search."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.search.choices import Effort, Engine, Objective


@section
class TargetParams:
    """An entry of `search.targets`: either latency_ms or fraction, the other null or left out."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Most predicted milliseconds."""
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """0: the fastest sub-network of the table, 1: the slowest; budgets in between grow linearly. Works on every machine."""
    device: str | None = None
    """A name under build_latency_table.devices; null or left out: `search.device`."""

    def __post_init__(self) -> None:
        if (self.latency_ms is None) == (self.fraction is None):
            raise ValueError("latency_ms: give either latency_ms or fraction")


@section
class SearchParams:
    """Section `search`."""

    device: str
    """A name under build_latency_table.devices, for the targets that name none."""
    engine: Engine
    """evolution, for any predictor; exact, the proven optimum of an additive predictor (fitted to this one); published,
    Once-for-All's own evolution."""
    effort: Effort
    """Of evolution: high tries about ten times as much."""
    objective: Objective
    """What is maximised: the predicted top-1; that of the network with 8 bits (needs collect_accuracies.int8_architectures); or
    the lower bound of the first, one deviation of its uncertainty below it."""
    targets: Annotated[dict[str, TargetParams], Field(min_length=1)]
    """By name; the released models are called ofa-NAME."""

    @property
    def devices(self) -> dict[str, str]:
        """By target, the device that it is searched for."""
        return {name: target.device or self.device for name, target in self.targets.items()}
