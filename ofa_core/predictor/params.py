"""Parameters of the accuracy predictor."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section

PredictorTarget = Literal["cross_entropy", "top1"]


@section
class FitPredictorParams:
    """The accuracy predictor."""

    target: PredictorTarget
    """What it learns. top1: whether images are right. cross_entropy: also how sure networks are, which is less noisy; a line
    through the measured networks turns it into top-1. Predictions are top-1 with both."""
    file: str | None
    """Path of a published accuracy predictor to use as it is: acc_predictor.pth, which `ofa fetch acc_predictor` gets, for
    ofa_mbv3. The measured networks then only say how good it is. null: fitted to the measured networks."""
    file_md5: str | None
    """MD5 of that file, so that DVC notices another one. null without `file`."""
    coverage: Annotated[float, Field(gt=0, lt=1)]
    """Share of measured values that the intervals of the report should contain."""

    def __post_init__(self) -> None:
        if (self.file is None) != (self.file_md5 is None):
            raise InputError("file_md5: goes with file; both or none")
