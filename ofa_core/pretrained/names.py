"""Names of weights to start from, and the spaces they belong to. Needs no torch."""

from ofa_core.pretrained.packages import PACKAGED
from ofa_core.pretrained.published import SUPERNETS
from ofa_core.run.errors import InputError
from ofa_core.run.paths import is_path
from ofa_core.space.base import Space
from ofa_core.space.registry import MB_TABLES


def check_start(init: str, space: Space) -> None:
    """Raises InputError that names the key if `init` is the name of weights of another space."""
    if is_path(init):
        return
    names = [*PACKAGED, *(name for name, row in SUPERNETS.items() if row.space in MB_TABLES)]  # those of the pipeline's spaces
    if init not in names:
        raise InputError(f"init: {init!r} is not one of {', '.join(names)}, nor a path with a slash or a suffix")
    row, width_mult = PACKAGED.get(init) or SUPERNETS[init], space.description().get("width_mult")
    wanted = 1.0 if init in PACKAGED else SUPERNETS[init].width_mult
    if (row.space, wanted) != (space.name, width_mult):
        it_is = f"{space.name}, width_mult {width_mult:g}" if width_mult else space.name
        raise InputError(f"init: {init} starts networks of space.name {row.space}, width_mult {wanted}; the space is {it_is}")
