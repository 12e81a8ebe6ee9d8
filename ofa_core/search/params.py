"""Parameters of the search."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.search.choices import Effort, Objective


@section
class TargetParams:
    """A budget to search for. Give either latency_ms or fraction; the other is null or left out."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Highest predicted latency, in milliseconds."""
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """0: the fastest sub-network of the table. 1: the slowest. Budgets in between grow by equal ratios:
    lowest * (highest / lowest) ** fraction. Works on every machine."""
    device: str | None = None
    """A name under build_latency_table.devices. If null or left out: `search.device`."""

    def __post_init__(self) -> None:
        if (self.latency_ms is None) == (self.fraction is None):
            raise InputError("latency_ms: give either latency_ms or fraction")


@section
class SearchParams:
    """The search for the most accurate sub-network within each budget."""

    device: str
    """A name under build_latency_table.devices. Used for targets that do not name a device."""
    effort: Effort
    """high evaluates about ten times as many networks as normal."""
    candidates: Annotated[int, Field(ge=1, le=500)]
    """Distinct networks to list for each target, the best predicted ones within its budget. Fewer if it allows fewer."""
    objective: Objective
    """What the search maximises. top1: predicted top-1. int8_top1: predicted top-1 of the 8-bit network (needs
    collect_accuracies.int8_architectures). lower_bound: predicted top-1 minus one standard deviation."""
    targets: Annotated[dict[str, TargetParams], Field(min_length=1)]
    """Targets by name. The released models are called ofa-NAME."""

    @property
    def devices(self) -> dict[str, str]:
        """The device of each target."""
        return {name: target.device or self.device for name, target in self.targets.items()}
