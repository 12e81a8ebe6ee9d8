"""Parameters of export."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.params import section

Format = Literal["uint8", "float", "onnx", "torch"]
HardSwish = Literal["fused", "composed"]


@section
class ExportParams:
    """Section `export`."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1)]
    """uint8: full-integer TFLite, uint8 in and out; float: float32 TFLite; onnx; torch: safetensors. uint8 is always needed."""
    calibration_images: Annotated[int, Field(ge=1, le=10000)]
    """Train images that give the integer file its activation ranges."""
    hard_swish: HardSwish
    """composed: x * relu6(x + 3) / 6, fast in int8 today; fused: the runtime's own operator."""

    def __post_init__(self) -> None:
        if "uint8" not in self.formats:
            raise ValueError(f"formats: {list(self.formats)} lacks uint8, the format that is released")
