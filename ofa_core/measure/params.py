"""Parameters of latency measurement and of the last evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.params import section


@section
class DeviceParams:
    """An entry of `build_latency_table.devices`."""

    kind: Literal["host"]
    """host: this machine."""
    source: Literal["measure", "file"]
    """measure: times the layers now. file: takes the table of `file`, whatever machine it was measured on."""
    file: str | None
    """With source file: the path of a table; null with measure."""
    file_md5: str | None
    """Its MD5, which makes a change of the file a change of the parameters that DVC sees."""
    dtype: Literal["uint8", "float32"]
    """Of the files that are timed: full-integer or float."""
    threads: Annotated[int, Field(ge=1, le=64)]
    """Of the interpreter."""
    instances: Annotated[int, Field(ge=1, le=100)]
    """Fresh interpreters a layer is timed in."""
    milliseconds: Annotated[float, Field(gt=0, le=60000)]
    """Timed runs of one layer in one interpreter last this long."""
    networks: Annotated[int, Field(ge=0, le=1000)]
    """Random whole networks that correct the table (half of them) and check it; 0, or 4 and more."""

    def __post_init__(self) -> None:
        if (self.source == "file") != (self.file is not None) or (self.source == "file") != (self.file_md5 is not None):
            raise ValueError(f"file: source is {self.source}; file and file_md5 go with source file, else null")
        if 0 < self.networks < 4:
            raise ValueError(f"networks: {self.networks} is not 0, or 4 and more")


@section
class LatencyParams:
    """Section `build_latency_table`."""

    devices: Annotated[dict[str, DeviceParams], Field(min_length=1)]
    """By name."""


@section
class EvaluateParams:
    """Section `evaluate`: how the latency of whole files is measured."""

    threads: Annotated[int, Field(ge=1, le=64)]
    instances: Annotated[int, Field(ge=1, le=100)]
    """Fresh interpreters each file is timed in."""
    milliseconds: Annotated[float, Field(gt=0, le=60000)]
    """Timed runs in one interpreter last this long."""
