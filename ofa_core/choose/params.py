"""Parameters of choosing one of the best networks of a search."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class ChooseParams:
    """The choice of one network for each target, by measuring the best that the search found."""

    tolerance: Annotated[float, Field(ge=0, le=1)]
    """Share by which a measured latency may exceed the target's budget. Measurements of one network differ by some percent."""
