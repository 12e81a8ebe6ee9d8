"""Parameters of the search for detectors."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.search.choices import Effort
from ofa_core.search.params import SearchParams, TargetParams


@section
class SearchDetectorParams:
    """The search for the most precise detector within each budget, and the choice among the best that it finds."""

    device: str
    """A name under build_detector_table.devices, on whose latencies the budgets are."""
    effort: Effort
    """high evaluates about ten times as many networks as normal."""
    candidates: Annotated[int, Field(ge=1, le=100)]
    """Best networks of each target whose average precision and latency are measured; one of them is chosen."""
    tolerance: Annotated[float, Field(ge=0, le=1)]
    """Share by which a measured latency may exceed the target's budget."""
    targets: dict[str, TargetParams]
    """Targets by name, with budgets for whole detectors, their last operator included. The released models are called det-NAME.
    Empty without detectors."""

    @property
    def search(self) -> SearchParams:
        """The same for the search of networks."""
        return SearchParams(
            device=self.device, effort=self.effort, candidates=self.candidates, objective="top1", targets=self.targets
        )
