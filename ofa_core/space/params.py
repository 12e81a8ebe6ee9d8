"""Section `space` of the parameters."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.run.params import section
from ofa_core.run.paths import is_path
from ofa_core.space.base import Space
from ofa_core.space.registry import MB_TABLES, SPACES, get_space

NAME = {"anyOf": [{"enum": list(MB_TABLES)}, {"type": "string", "pattern": r"/|\.[A-Za-z]\w*$"}]}
"""Schema of a name, for editors."""


@section
class SpaceParams:
    """The search space of the whole pipeline."""

    name: Annotated[str, Field(json_schema_extra=NAME)]
    """Name of the search space, or the path of a YAML file with its table (docs/spaces.md), with a slash or a suffix.
    ofa_small, ofa_small_k7 and ofa_small_se suit images of 20 to 32 pixels, ofa_mbv3 and ofa_proxyless photos, ofa_lite photos
    with pretrained weights. ofa_mbv3 and ofa_small_se have h-swish and squeeze-excite; the others are safe in int8."""
    file_md5: str | None
    """MD5 of the file that `name` is the path of, so that DVC notices another table. null for a shipped space."""
    width_mult: float
    """Multiplies every width, 0.05 to 16. Widths are rounded to multiples of 8."""
    resolutions: tuple[int, ...]
    """Input resolutions in pixels that the super-network learns: ascending multiples of 4."""

    def __post_init__(self) -> None:
        if self.name in SPACES and self.name not in MB_TABLES:
            raise InputError(
                f"name: {self.name} is no space of the pipeline, whose phases shrink kernel, depth and expand ratio"
            )
        if is_path(self.name) != (self.file_md5 is not None):
            raise InputError("file_md5: goes with a path as name; both or none")
        self.build()

    def build(self) -> Space:
        """The space itself. Raises InputError that begins with the key, also for a file with another MD5."""
        space = get_space(self.name, self.width_mult, self.resolutions)
        if self.file_md5 is not None and (found := files.md5(Path(self.name))) != self.file_md5:
            raise InputError(f"file_md5: {self.file_md5}: the MD5 of {self.name} is {found}")
        return space
