"""Parameters of export."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.convert.choices import Format, HardSwishChoice
from ofa_core.quantization.params import Calibration
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
    """Formats to export. uint8, int8: full-integer TFLite. dynamic: TFLite with 8-bit weights. float16, float: TFLite with
    16-bit or 32-bit weights. saved_model, frozen: TensorFlow. onnx: float32 ONNX. torch: safetensors. The pipeline needs
    uint8, which it releases."""
    hard_swish: HardSwishChoice
    """How integer files compute h-swish. composed: x / 6 * relu6(x + 3), fast in int8 today. fused: the runtime's own
    operator. auto: the faster of the two on this machine."""
    background: bool
    """Whether to put a class before the others that never wins, as in OVIC's 1001 classes."""
    calibration: Calibration
    """How ranges of activations come from calibration images. minmax: smallest and largest value. moving_average: of those
    of batches. percentile: without the outermost values. mse: least squared error."""
    keep_float: tuple[str, ...]
    """Names of layers that stay float in integer files. Each run of them costs a conversion before and after it."""
    max_float_difference: Annotated[float, Field(gt=0, le=1)]
    """Largest difference of a probability between a float file and torch, on real images."""
    min_kernel_agreement: Annotated[float, Field(ge=0, le=1)]
    """Smallest share of real images to which XNNPACK and the reference kernels give the same class."""
    min_simulation_agreement: Annotated[float, Field(ge=0, le=1)]
    """Smallest share of real images to which the integer file and its simulation in torch give the same class."""
