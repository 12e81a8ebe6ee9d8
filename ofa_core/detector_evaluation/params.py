"""Parameters of the last evaluation of detectors."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class EvaluateDetectorParams:
    """The final evaluation of detectors."""

    timed_images: Annotated[int, Field(ge=1)]
    """Test images on which latency is measured, with one thread: with several, today's runtime leaves a class out."""
    score_thresholds: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)]
    """Least scores for which, with regular and with fast suppression, average precision and latency on val are reported."""
