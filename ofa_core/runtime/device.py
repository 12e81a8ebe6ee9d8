"""What a latency can be measured on: the one interface behind which this machine and phones stand."""

from pathlib import Path
from typing import Any, Protocol


class Device(Protocol):
    """Something that runs TFLite files and tells how long they take."""

    def info(self) -> dict[str, Any]:
        """What a latency table records about it; without the date. Raises ValueError when it cannot be reached."""
        ...

    def milliseconds(self, model: Path) -> float:
        """The typical time of one run of the file, from many runs in one fresh instance of the runtime.

        Raises ValueError, one line, when the file or the device does not work.
        """
        ...
