"""Search spaces by name: the tables that are shipped, and own ones from a YAML file.

ofa_mbv3, ofa_proxyless and ofa_resnet50 are those of Once-for-All's published code (mit-han-lab/once-for-all).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ofa_core.run.errors import InputError
from ofa_core.run.paths import is_path
from ofa_core.space.base import RESOLUTIONS, Space, check_resolutions, check_width_mult
from ofa_core.space.detector import DetectorSpace, Heads
from ofa_core.space.layers import Activation
from ofa_core.space.mobile import FirstBlock, Head, MBTable, Stage, Stem
from ofa_core.space.resnet import resnet50


def _published(width: int, stride: int, act: Activation, se: bool = False) -> Stage:
    """A stage with the choices of Once-for-All, section 4.1."""
    return Stage(widths=(width,), depths=(2, 3, 4), kernel_sizes=(3, 5, 7), expand_ratios=(3, 4, 6), stride=stride, act=act,
                 se=se)  # fmt: skip


def _small(width: int, stride: int, depths: tuple[int, ...], kernels: tuple[int, ...], ratios: tuple[int, ...]) -> Stage:
    """A stage for small images: ReLU6, no squeeze-excite."""
    return Stage(widths=(width,), depths=depths, kernel_sizes=kernels, expand_ratios=ratios, stride=stride, act="relu6",
                 se=False)  # fmt: skip


OFA_MBV3 = MBTable(
    width_mult=1.0,
    resolutions=RESOLUTIONS,
    bn_eps=1e-5,
    stem=Stem(widths=(16,), stride=2, act="h_swish"),
    first=FirstBlock(widths=(16,), act="relu", residual=True),
    stages=(
        _published(24, 2, "relu"),
        _published(40, 2, "relu", se=True),
        _published(80, 2, "h_swish"),
        _published(112, 1, "h_swish", se=True),
        _published(160, 2, "h_swish", se=True),
    ),
    head=Head(expand_widths=(960,), mix_widths=(1280,), act="h_swish"),
)

OFA_PROXYLESS = MBTable(
    width_mult=1.3,
    resolutions=RESOLUTIONS,
    bn_eps=1e-3,
    stem=Stem(widths=(32,), stride=2, act="relu6"),
    first=FirstBlock(widths=(16,), act="relu6", residual=False),
    stages=(
        _published(24, 2, "relu6"),
        _published(40, 2, "relu6"),
        _published(80, 2, "relu6"),
        _published(96, 1, "relu6"),
        _published(192, 2, "relu6"),
        replace(_published(320, 1, "relu6"), depths=(1,)),
    ),
    head=Head(expand_widths=None, mix_widths=(1280,), act="relu6"),
)


def _lite(widths: Sequence[int], blocks: Sequence[int]) -> MBTable:
    """The space below an EfficientNet-Lite, which is its largest network. widths, blocks: of its seven rows.

    Kernels and expand ratios go up to the published ones, depths from 1 in the first rows, from 2 in the longer ones behind.
    """
    kernels, strides = (3, 5, 3, 5, 5, 3), (2, 2, 2, 1, 2, 1)
    rows = zip(widths[1:], blocks[1:], kernels, strides, strict=True)
    stages = tuple(
        Stage(widths=(width,), depths=tuple(range(1 if most < 3 or row < 2 else 2, most + 1)),
              kernel_sizes=(3,) if kernel == 3 else (3, 5), expand_ratios=(3, 4, 6), stride=stride, act="relu6", se=False)
        for row, (width, most, kernel, stride) in enumerate(rows)
    )  # fmt: skip
    return MBTable(
        width_mult=1.0,
        resolutions=tuple(range(96, 257, 32)),
        bn_eps=1e-3,
        padding="same",
        stem=Stem(widths=(32,), stride=2, act="relu6"),
        first=FirstBlock(widths=(widths[0],), act="relu6", residual=False),
        stages=stages,
        head=Head(expand_widths=None, mix_widths=(1280,), act="relu6"),
    )


# EfficientNet-Lite (Google, tensorflow/tpu, models/official/efficientnet/lite): without squeeze-excite, ReLU6, made for int8.
OFA_LITE, OFA_LITE1, OFA_LITE2 = (
    _lite((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    _lite((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    _lite((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
)

# For images of 20 to 32 pixels. ReLU6 without squeeze-excite is safe in int8, as in the LPCVC winner's networks.
# By params/ci_latency.json (uint8, one thread of a server CPU, 28 pixels, expand 6) a block of the first stage takes 15 us with
# kernel 3, 29 with 5 and 564 with 7; one of the last stage 9, 13 and 245. So early blocks are few, narrow and 3x3, no kernel is
# 7x7, and choices are where they are cheap.
OFA_SMALL = MBTable(
    width_mult=1.0,
    resolutions=(24, 28),
    bn_eps=1e-5,
    stem=Stem(widths=(16,), stride=2, act="relu6"),
    first=FirstBlock(widths=(16,), act="relu6", residual=True),
    stages=(
        _small(16, 1, depths=(1, 2), kernels=(3,), ratios=(2, 3, 4)),
        _small(32, 2, depths=(1, 2, 3), kernels=(3, 5), ratios=(3, 4, 6)),
        _small(64, 2, depths=(1, 2, 3), kernels=(3, 5), ratios=(3, 4, 6)),
    ),
    head=Head(expand_widths=(256,), mix_widths=(256,), act="relu6"),
)

# The choices of Once-for-All at the same widths, 7x7 kernels included.
OFA_SMALL_K7 = replace(
    OFA_SMALL,
    resolutions=(20, 24, 28),
    stages=tuple(_published(width, stride, "relu6") for width, stride in ((16, 1), (32, 2), (64, 2))),
)

# The same again with h-swish and squeeze-excite: the first, third and fifth stage of ofa_mbv3.
OFA_SMALL_SE = replace(
    OFA_SMALL_K7,
    stem=OFA_MBV3.stem,
    first=OFA_MBV3.first,
    stages=tuple(
        replace(theirs, widths=ours.widths, stride=ours.stride)
        for ours, theirs in zip(OFA_SMALL_K7.stages, OFA_MBV3.stages[::2], strict=True)
    ),
    head=replace(OFA_SMALL_K7.head, act="h_swish"),
)

MB_TABLES = {
    "ofa_mbv3": OFA_MBV3,
    "ofa_proxyless": OFA_PROXYLESS,
    "ofa_small": OFA_SMALL,
    "ofa_small_k7": OFA_SMALL_K7,
    "ofa_small_se": OFA_SMALL_SE,
    "ofa_lite": OFA_LITE,
    "ofa_lite1": OFA_LITE1,
    "ofa_lite2": OFA_LITE2,
}
"""The shipped tables that the pipeline can use."""

SPACES: dict[str, Callable[[str, float | None, Sequence[int] | None], Space]] = {
    **{name: table.space for name, table in MB_TABLES.items()},
    "ofa_resnet50": resnet50,
}
"""By name: makes the space. Arguments: its name, width multiplier and resolutions, None for its own."""


def read_table(path: str) -> MBTable:
    """The table in a YAML file (docs/spaces.md). Raises InputError, one line that names file, row and field."""
    from ofa_core.run.params import ParamsFile  # needs ruamel.yaml, which the shipped tables do not

    content = ParamsFile(path).content
    try:
        return MBTable.parse(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def get_space(
    name: str,
    width_mult: float | None = None,
    resolutions: Sequence[int] | None = None,
    choices: Mapping[str, Sequence[Sequence[int | float]]] | None = None,
    table: Mapping[str, Any] | None = None,
) -> Space:
    """A space by name.

    name: one of `SPACES`, or the path of a YAML file with a table (`run.paths.is_path`).
    width_mult: multiplies every width; results are rounded to multiples of 8. None: that of the table. Must be None for
      ofa_resnet50, whose widths are elastic.
    resolutions: the elastic input resolutions in pixels, ascending multiples of 4. None: those of the table.
    choices: of every gene, to restrict the space to; see `Space.with_choices`. None: all.
    table: the table itself, as `Space.description` holds it. Then `name` is only a name, and no file is read.

    Raises InputError that names the argument.
    """
    make = SPACES.get(name)
    try:
        if table is not None:
            make = MBTable.parse(table).space
        elif is_path(name):
            make = read_table(name).space
    except InputError as error:
        raise InputError(f"{'name' if table is None else 'table'}: {error}") from None
    if make is None:
        raise InputError(f"name: {name!r} is not one of {', '.join(SPACES)}, nor a path with a slash or a suffix")
    if width_mult is not None:
        check_width_mult(width_mult)
    if resolutions is not None:
        resolutions = tuple(map(int, resolutions))
        check_resolutions(resolutions)
    space = make(name, width_mult, resolutions)
    return space if choices is None else space.with_choices(choices)


def space_of(description: Mapping[str, Any]) -> Space:
    """The space that `Space.description` described: arguments of `get_space`, or a detector's backbone, heads and choices.

    Raises InputError that names the argument.
    """
    if "heads" not in description:
        return get_space(**description)
    space = DetectorSpace(space_of(description["backbone"]), Heads.from_dict(description["heads"]))
    return space if description["choices"] is None else space.with_choices(description["choices"])
