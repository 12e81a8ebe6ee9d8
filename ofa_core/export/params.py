"""Parameters of export."""

from typing import Annotated

from pydantic import Field

from ofa_core.convert.params import ConversionParams
from ofa_core.run.errors import InputError
from ofa_core.run.params import section


@section
class ChooseFloatParams:
    """Chooses by measurement which layers stay float in integer files."""

    images: Annotated[int, Field(ge=1, le=10000)]
    """Train images on which the errors of layers are measured. They are not those of calibration."""
    max_slowdown: Annotated[float, Field(ge=1, le=10)]
    """Largest latency of the uint8 file on this machine, as a multiple of that without float layers."""
    min_agreement: Annotated[float, Field(ge=0, le=1)]
    """Share of the images with the float network's class at which no more layers are left in float."""


@section
class ExportParams(ConversionParams):
    """The files of each released network, and the gates that stop them."""

    choose_float: ChooseFloatParams | None
    """Chooses more layers to stay float, by the error they cause and the time they cost. null: only those of `keep_float`."""
    calibration_images: Annotated[int, Field(ge=1, le=10000)]
    """Train images that give integer files their ranges of activations."""
    calibration_seed: Annotated[int, Field(ge=0)]
    """Seed that chooses the calibration images."""
    parity_images: Annotated[int, Field(ge=1, le=10000)]
    """Val images on which formats, layers and kernels are compared."""
    max_int8_drop: Annotated[float, Field(ge=0, le=1)]
    """Largest drop in top-1 (0..1) on val from the float file to the uint8 file."""

    def __post_init__(self) -> None:
        if "uint8" not in self.formats:
            raise InputError(f"formats: {list(self.formats)} lacks uint8, the format that is released")
