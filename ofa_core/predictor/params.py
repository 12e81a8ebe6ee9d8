"""Parameters of the accuracy predictor."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class FitPredictorParams:
    """The accuracy predictor."""

    held_out: Annotated[float, Field(gt=0, lt=0.9)]
    """Share of the measured architectures held out to report errors. The released predictor is fitted to all of them."""
    coverage: Annotated[float, Field(gt=0, lt=1)]
    """Share of measured values that the reported intervals should contain."""
