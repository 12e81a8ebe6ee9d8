"""Parameters of export."""

from typing import Annotated

from pydantic import Field

from ofa_core.convert.params import ConversionParams
from ofa_core.run.params import section


@section
class ChooseFloatParams:
    """`export.choose_float`: which layers to leave in float by measurement, as `measure.mixed` does."""

    images: Annotated[int, Field(ge=1, le=10000)]
    """Train images, others than those of calibration, on which the errors of layers are measured."""
    max_slowdown: Annotated[float, Field(ge=1, le=10)]
    """Most that the uint8 file may take on this machine, as a multiple of the time of the file without float layers."""
    min_agreement: Annotated[float, Field(ge=0, le=1)]
    """Share of these images with the float network's class from which on no more layers are left in float."""


@section
class ExportParams(ConversionParams):
    """Section `export`."""

    choose_float: ChooseFloatParams | None
    """Which layers stay float besides those of `keep_float`, by the error they cause and the time they cost; null: none."""

    calibration_images: Annotated[int, Field(ge=1, le=10000)]
    """Train images that give the integer files their activation ranges."""
    calibration_seed: Annotated[int, Field(ge=0)]
    """Which of them."""
    parity_images: Annotated[int, Field(ge=1, le=10000)]
    """Val images on which formats, layers and kernels are compared."""
    max_int8_drop: Annotated[float, Field(ge=0, le=1)]
    """Most top1 (0..1) that the uint8 file may lose against the float file on val."""

    def __post_init__(self) -> None:
        if "uint8" not in self.formats:
            raise ValueError(f"formats: {list(self.formats)} lacks uint8, the format that is released")
