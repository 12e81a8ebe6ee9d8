"""Parameters of collecting the accuracies of sub-networks."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.training.params import Share


@section
class CollectParams:
    """Sub-networks whose accuracy is measured, for the predictor to learn from."""

    architectures: Annotated[int, Field(ge=20)]
    """Sub-networks to measure, including the smallest and the largest at every resolution."""
    promising: Share
    """Share of them chosen by a predictor fitted to the others, as the most promising for their size."""
    int8_architectures: Annotated[int, Field(ge=0)]
    """Number of them, of all sizes, also measured with 8 bits for the predictor of int8 accuracy. 0, or at least 20."""

    def __post_init__(self) -> None:
        if self.int8_architectures and not 20 <= self.int8_architectures <= self.architectures:
            raise InputError(
                f"int8_architectures: {self.int8_architectures} is not 0, or 20 to architectures ({self.architectures})"
            )
