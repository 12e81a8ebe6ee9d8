"""What was measured so far, on disk: a stopped measurement of many networks goes on where it was."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ofa_core.space.arch import Arch

Values = dict[str, float]


class Journal:
    """Measured values by network, in a folder that a killed run leaves behind.

    Every process appends to a file of its own, one line for each network, and reads those of all processes when it starts. So
    a run may also go on with another number of processes. Numbers are read back exactly as they were.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._path = folder / f"measured-{rank}.jsonl"
        self._known: dict[str, Values] = {}
        for path in sorted(folder.glob("measured-*.jsonl")):
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]  # a killed process may leave half a line behind
            self._known |= dict(map(json.loads, whole.splitlines()))
            if path == self._path and whole != content:
                os.truncate(path, len(whole))  # other processes may be reading, so whole lines stay where they are

    def measured(self, what: str, arch: Arch, measure: Callable[[], Mapping[str, float]]) -> Values:
        """The values of `measure`, which is called only if the journal has none. what: the kind of measurement."""
        key = json.dumps([what, arch.to_dict()], sort_keys=True)
        if key not in self._known:
            self._known[key] = dict(measure())
            with self._path.open("a") as f:
                f.write(json.dumps([key, self._known[key]]) + "\n")
        return self._known[key]
