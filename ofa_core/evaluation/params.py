"""Parameters of the last evaluation."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class EvaluateParams:
    """Section `evaluate`: how the latency of whole files is measured."""

    threads: Annotated[int, Field(ge=1, le=64)]
    instances: Annotated[int, Field(ge=1, le=100)]
    """Fresh interpreters each file is timed in."""
    milliseconds: Annotated[float, Field(gt=0, le=60000)]
    """Timed runs in one interpreter last this long."""
