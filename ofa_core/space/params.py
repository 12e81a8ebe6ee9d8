"""Section `space` of the parameters."""

from ofa_core.run.params import section
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space


@section
class SpaceParams:
    """Section `space`: the search space of the whole pipeline."""

    name: str
    """A name of `ofa_core.space.registry.SPACES`. One with elastic kernel, expand ratio and depth: not ofa_resnet50 here."""
    width_mult: float
    """Multiplies every width; widths are rounded to multiples of 8."""
    resolutions: tuple[int, ...]
    """Elastic input resolutions in pixels, ascending multiples of 4."""

    def __post_init__(self) -> None:
        if self.name == "ofa_resnet50":
            raise ValueError(
                "name: ofa_resnet50 is no space of the pipeline, whose phases shrink kernel, depth and expand ratio"
            )
        self.build()

    def build(self) -> Space:
        """The space itself."""
        return get_space(self.name, self.width_mult, self.resolutions)
