"""Parameters of export."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.convert.choices import Format, HardSwishChoice
from ofa_core.quantization.params import Calibration
from ofa_core.quantization.params import HardSwish as HardSwish
from ofa_core.run.params import section

IntegerFormat = Literal["uint8", "int8"]
Dtype = Literal["uint8", "float32"]
"""Of files that are timed: full-integer or float."""
INTEGER: tuple[IntegerFormat, ...] = ("uint8", "int8")
"""Formats that need calibration images."""


@section
class ConversionParams:
    """How a network becomes files, in the pipeline or by `ofa export`."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1)]
    """See `Format`. The pipeline always needs uint8, the format that is released."""
    hard_swish: HardSwishChoice
    """composed: x / 6 * relu6(x + 3), fast in int8 today; fused: the runtime's own operator; auto: the faster one on this
    machine, measured."""
    background: bool
    """Whether to put a class before the others that never wins, as OVIC's 1001 classes have it."""
    calibration: Calibration
    """How ranges of activations come from calibration images, see `Calibration`."""
    keep_float: tuple[str, ...]
    """Names of layers that stay float in integer files, at the price of a conversion before and after each run of them."""
    max_float_difference: Annotated[float, Field(gt=0, le=1)]
    """Most that a probability of a float file may differ from torch's, on real images."""
    min_kernel_agreement: Annotated[float, Field(ge=0, le=1)]
    """Least share of real images on which XNNPACK and the reference kernels give the integer file the same class."""
    min_simulation_agreement: Annotated[float, Field(ge=0, le=1)]
    """Least share of real images on which either kernels and the simulation in torch give it the same class."""
