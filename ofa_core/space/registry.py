"""Search spaces by name."""

from collections.abc import Mapping, Sequence

from ofa_core.space.base import Space
from ofa_core.space.mobile import OFA_MBV3, OFA_PROXYLESS, OFA_SMALL, OFA_SMALL_SE, MBSpace
from ofa_core.space.resnet import ResNetSpace

MB_TABLES = {
    "ofa_mbv3": (OFA_MBV3, 1.0),
    "ofa_proxyless": (OFA_PROXYLESS, 1.3),
    "ofa_small": (OFA_SMALL, 1.0),
    "ofa_small_se": (OFA_SMALL_SE, 1.0),
}
"""Table and default width multiplier of every MobileNet-like space."""


SPACES = (*MB_TABLES, "ofa_resnet50")


def get_space(
    name: str,
    width_mult: float | None = None,
    resolutions: Sequence[int] | None = None,
    choices: Mapping[str, Sequence[Sequence[int | float]]] | None = None,
) -> Space:
    """A space by name.

    name: one of `SPACES`. ofa_small (ReLU6) and ofa_small_se (h-swish and squeeze-excite) are for images of 20 to 32 pixels.
    width_mult: multiplies every width; results are rounded to multiples of 8. None: the published one. Must be None for
      ofa_resnet50, whose widths are elastic.
    resolutions: the elastic input resolutions in pixels, ascending multiples of 4. None: the default of the space.
    choices: of every gene, to restrict the space to; see `Space.with_choices`. None: all.

    Raises ValueError that names the argument.
    """
    if name not in SPACES:
        raise ValueError(f"name: {name!r} is not one of {', '.join(SPACES)}")
    if width_mult is not None and not 0.05 <= width_mult <= 16:
        raise ValueError(f"width_mult: {width_mult} is not between 0.05 and 16")
    if resolutions is not None:
        resolutions = tuple(int(r) for r in resolutions)
        if not resolutions or any(r < 8 or r % 4 for r in resolutions) or list(resolutions) != sorted(set(resolutions)):
            raise ValueError(f"resolutions: {list(resolutions)} are not ascending multiples of 4, 8 or more")
    space: Space
    if name == "ofa_resnet50":
        if width_mult is not None:
            raise ValueError("width_mult: ofa_resnet50 has elastic widths and takes none")
        space = ResNetSpace(name, resolutions or OFA_MBV3.resolutions)
    else:
        table, usual = MB_TABLES[name]
        space = MBSpace(name, table, usual if width_mult is None else width_mult, resolutions or table.resolutions)
    return space if choices is None else space.with_choices(choices)
