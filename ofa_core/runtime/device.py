"""The interface of devices on which latency can be measured: this machine, or a phone."""

from pathlib import Path
from typing import Any, Protocol


class Device(Protocol):
    """A device that runs TFLite files and measures their time."""

    def info(self) -> dict[str, Any]:
        """The device record for a latency table, without the date. Raises InputError if the device cannot be reached."""
        ...

    def milliseconds(self, model: Path) -> float:
        """The typical time of one run of the file in milliseconds, from many runs in one fresh instance of the runtime.

        Raises InputError, one line, if the file or the device does not work.
        """
        ...
