"""Parameters of measuring sub-networks."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.training.params import Share


@section
class CollectParams:
    """Section `collect_accuracies`."""

    architectures: Annotated[int, Field(ge=20)]
    """Sub-networks to measure, the smallest and the largest at every resolution among them."""
    promising: Share
    """Share of them that a predictor fitted to the others chooses, as the most promising of their size."""
    int8_architectures: Annotated[int, Field(ge=0)]
    """How many of them, of all sizes, are measured with 8 bits as well, for the predictor of int8 accuracy; 0, or 20 up."""

    def __post_init__(self) -> None:
        if self.int8_architectures and not 20 <= self.int8_architectures <= self.architectures:
            raise ValueError(
                f"int8_architectures: {self.int8_architectures} is not 0, or 20 to architectures ({self.architectures})"
            )
