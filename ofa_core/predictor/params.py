"""Parameters of the accuracy predictor."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.params import section

PredictorTarget = Literal["cross_entropy", "top1"]


@section
class FitPredictorParams:
    """The accuracy predictor."""

    target: PredictorTarget
    """What it learns. top1: whether images are right. cross_entropy: also how sure networks are, which is less noisy; a line
    through the measured networks turns it into top-1. Predictions are top-1 with both."""
    coverage: Annotated[float, Field(gt=0, lt=1)]
    """Share of measured values that the intervals of the report should contain."""
