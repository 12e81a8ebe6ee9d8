"""Parameters of the last evaluation."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class EvaluateParams:
    """The final evaluation: how the latency of the released files is measured."""

    threads: Annotated[int, Field(ge=1, le=64)]
    """CPU threads of the interpreter."""
    instances: Annotated[int, Field(ge=1, le=100)]
    """Fresh interpreters that time each file."""
    milliseconds: Annotated[float, Field(gt=0, le=60000)]
    """Duration of the timed runs in one interpreter, in milliseconds."""
