"""What is asked of `ofa make`: photos, latencies, a device, time, a folder for the project."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from ofa_core.run.errors import InputError

HOST = "host"
PHONE = "phone"
"""The name of an Android device in the project."""
MINUTES = 20
"""Time of a run unless another is asked for."""
MOST_MS = 1e6
"""Highest budget in milliseconds."""
DEVICES = re.compile(r"host|android(:\S+)?")


@dataclass(frozen=True, kw_only=True)
class Request:
    """photos: a folder or .zip archive; out: the project's folder; both absolute. ms: budgets in milliseconds, ascending;
    empty: three models along the front. device: `host`, `android` or `android:SERIAL`. program: TensorFlow's benchmark_model,
    for a phone. minutes: about how long the whole run may take.

    Raises InputError, naming the argument, for values that are impossible.
    """

    photos: Path
    out: Path
    ms: tuple[float, ...] = ()
    device: str = HOST
    program: Path | None = None
    minutes: float = MINUTES

    def __post_init__(self) -> None:
        for value in self.ms:
            if not 0 < value <= MOST_MS:
                raise InputError(f"--ms: {value:g} is {'above' if value > 0 else 'not above 0; the most is'} {MOST_MS:g}")
        if not 0 < self.minutes <= 10_000:
            raise InputError(f"--minutes: {self.minutes:g} is not above 0, and 10000 at most")
        if not DEVICES.fullmatch(self.device):
            raise InputError(f"--device: {self.device}: allowed are host, android and android:SERIAL")
        if self.program is not None and self.device == HOST:
            raise InputError("--benchmark-model: goes with --device android")
        if self.program is None and self.device != HOST:
            raise InputError(
                f"--device: {self.device}: needs --benchmark-model, TensorFlow's program for the phone's processor"
            )
        if self.out.is_relative_to(self.photos):
            raise InputError(f"--out: {self.out} lies inside the photos; name a folder elsewhere")

    @property
    def device_name(self) -> str:
        """The device's name under build_latency_table.devices."""
        return HOST if self.device == HOST else PHONE

    @property
    def serial(self) -> str | None:
        """The serial number of the phone, if it was named."""
        return self.device.partition(":")[2] or None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without `out`, so that a project may be moved."""
        values = asdict(self)
        del values["out"]
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()} | {"ms": list(self.ms)}


def target_names(request: Request) -> dict[str, dict[str, float]]:
    """search.targets: the models by name, each with its budget."""
    if not request.ms:
        return {"fast": {"fraction": 0.25}, "medium": {"fraction": 0.6}, "accurate": {"fraction": 1.0}}
    return {_name(value): {"latency_ms": value} for value in request.ms}


def _name(ms: float) -> str:
    """A model's name by its budget, such as 20ms; DVC allows no dot in the name of an artifact: 0_5ms."""
    return f"{ms:f}".rstrip("0").rstrip(".").replace(".", "_") + "ms"


def command(request: Mapping[str, Any], out: Path) -> str:
    """The call that repeats a request of `Request.to_json`."""
    words = ["ofa make", quote(request["photos"])]
    words += ["--ms", *(f"{value:g}" for value in request["ms"])] if request["ms"] else []
    words += [f"--device {quote(request['device'])}"] if request["device"] != HOST else []
    words += [f"--benchmark-model {quote(request['program'])}"] if request["program"] else []
    words += [f"--minutes {request['minutes']:g}"] if request["minutes"] != MINUTES else []
    return " ".join([*words, f"--out {quote(str(out))}"])
