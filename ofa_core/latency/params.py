"""Parameters of latency measurement and of the last evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.params import section


@section
class AndroidParams:
    """Key `android` of a device of kind android."""

    binary: str
    """Path of TensorFlow's benchmark_model, built for the phone's processor."""
    serial: str | None
    """The phone's, as `adb devices` lists it; null when one phone only is connected."""


@section
class DeviceParams:
    """An entry of `build_latency_table.devices`."""

    kind: Literal["host", "android"]
    """host: this machine. android: a phone, over adb."""
    android: AndroidParams | None
    """null with kind host."""
    source: Literal["measure", "file"]
    """measure: times the layers now. file: takes the table of `file`, whatever machine it was measured on."""
    file: str | None
    """With source file: the path of a table; null with measure."""
    file_md5: str | None
    """Its MD5, which makes a change of the file a change of the parameters that DVC sees."""
    dtype: Literal["uint8", "float32"]
    """Of the files that are timed: full-integer or float."""
    resolutions: Annotated[list[Annotated[int, Field(ge=8, multiple_of=4)]], Field(min_length=1)] | None
    """Input sizes in pixels for which layers are timed; null: those of the space."""
    threads: Annotated[int, Field(ge=1, le=64)]
    """Of the interpreter."""
    cores: Annotated[list[Annotated[int, Field(ge=0, lt=64)]], Field(min_length=1)] | None
    """Processor cores the runs are pinned to, by number; null: wherever the system puts them."""
    instances: Annotated[int, Field(ge=1, le=100)]
    """Fresh interpreters each file is timed in, at least; at most four times as many."""
    max_error: Annotated[float, Field(gt=0, le=1)]
    """Standard error of a file's median, as a share of it, above which it is timed in more interpreters."""
    milliseconds: Annotated[float, Field(gt=0, le=60000)]
    """Timed runs of one file in one interpreter last this long."""
    networks: Annotated[int, Field(ge=0, le=1000)]
    """Random whole networks that correct the table (half of them) and check it; 0, or 4 and more."""

    def __post_init__(self) -> None:
        if (self.source == "file") != (self.file is not None) or (self.source == "file") != (self.file_md5 is not None):
            raise ValueError(f"file: source is {self.source}; file and file_md5 go with source file, else null")
        if (self.kind == "android") != (self.android is not None):
            raise ValueError(f"android: kind is {self.kind}; android has binary and serial with kind android, else null")
        if 0 < self.networks < 4:
            raise ValueError(f"networks: {self.networks} is not 0, or 4 and more")


@section
class LatencyParams:
    """Section `build_latency_table`."""

    devices: Annotated[dict[str, DeviceParams], Field(min_length=1)]
    """By name."""
