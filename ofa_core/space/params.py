"""Section `space` of the parameters."""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section
from ofa_core.space.base import Space
from ofa_core.space.registry import MB_TABLES, get_space


@section
class SpaceParams:
    """The search space of the whole pipeline."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(MB_TABLES)})]
    """Name of the search space. ofa_small and ofa_small_se suit images of 20 to 32 pixels, the others photos. ofa_small and
    ofa_proxyless are safe in int8; ofa_small_se and ofa_mbv3 have h-swish and squeeze-excite."""
    width_mult: float
    """Multiplies every width, 0.05 to 16. Widths are rounded to multiples of 8."""
    resolutions: tuple[int, ...]
    """Input resolutions in pixels that the super-network learns: ascending multiples of 4."""

    def __post_init__(self) -> None:
        if self.name == "ofa_resnet50":
            raise ValueError(
                "name: ofa_resnet50 is no space of the pipeline, whose phases shrink kernel, depth and expand ratio"
            )
        self.build()

    def build(self) -> Space:
        """The space itself."""
        return get_space(self.name, self.width_mult, self.resolutions)
