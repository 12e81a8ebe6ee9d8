"""Parameters of latency measurement and of the last evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section


@section
class AndroidParams:
    """A phone, reached over adb."""

    binary: str
    """Path of TensorFlow's benchmark_model, built for the phone's processor."""
    serial: str | None
    """Serial number of the phone, as `adb devices` lists it. null if only one phone is connected."""


@section
class DeviceParams:
    """A device, and how the latency of its layers is measured."""

    kind: Literal["host", "android"]
    """host: this machine. android: a phone, over adb."""
    android: AndroidParams | None
    """The phone, with kind android. null with kind host."""
    source: Literal["measure", "file"]
    """measure: layers are timed now. file: the table in `file` is used, on whatever machine it was measured."""
    file: str | None
    """Path of a latency table, with source file. null with source measure."""
    file_md5: str | None
    """MD5 of the file `file`, so that DVC notices another file. null with source measure."""
    dtype: Literal["uint8", "float32"]
    """Files that are timed. uint8: full-integer. float32: float."""
    resolutions: Annotated[list[Annotated[int, Field(ge=8, multiple_of=4)]], Field(min_length=1)] | None
    """Input sizes in pixels for which layers are timed. null: those of the space."""
    threads: Annotated[int, Field(ge=1, le=64)]
    """CPU threads of the interpreter."""
    cores: Annotated[list[Annotated[int, Field(ge=0, lt=64)]], Field(min_length=1)] | None
    """Numbers of the processor cores that runs are pinned to. null: the system chooses."""
    instances: Annotated[int, Field(ge=1, le=100)]
    """Fresh interpreters that time each file, at least; at most four times as many."""
    max_error: Annotated[float, Field(gt=0, le=1)]
    """Standard error of a file's median latency, as a share of it, above which more interpreters time the file."""
    milliseconds: Annotated[float, Field(gt=0, le=60000)]
    """Duration of the timed runs of one file in one interpreter, in milliseconds."""
    networks: Annotated[int, Field(ge=0, le=1000)]
    """Random whole networks that are timed: half of them correct the table, half check it. 0, or at least 4."""

    def __post_init__(self) -> None:
        if (self.source == "file") != (self.file is not None) or (self.source == "file") != (self.file_md5 is not None):
            raise InputError(f"file: source is {self.source}; file and file_md5 go with source file, else null")
        if (self.kind == "android") != (self.android is not None):
            raise InputError(f"android: kind is {self.kind}; android has binary and serial with kind android, else null")
        if 0 < self.networks < 4:
            raise InputError(f"networks: {self.networks} is not 0, or 4 and more")


@section
class LatencyParams:
    """The latency tables, one for each device."""

    devices: Annotated[dict[str, DeviceParams], Field(min_length=1)]
    """The devices by name."""


@section
class DetectorLatencyParams:
    """The latency tables of detectors, one for each device."""

    devices: dict[str, DeviceParams]
    """The devices by name. Empty without detectors."""
