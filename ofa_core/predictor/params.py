"""Parameters of the accuracy predictor."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class FitPredictorParams:
    """Section `fit_predictor`."""

    held_out: Annotated[float, Field(gt=0, lt=0.9)]
    """Share of the measured architectures that the reported errors come from; the released predictor is fitted to all."""
    coverage: Annotated[float, Field(gt=0, lt=1)]
    """Of the reported intervals: the share of measured values they are meant to hold."""
