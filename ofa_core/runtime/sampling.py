"""Repeated timing: in turns, until the medians are certain, and written down so that a stopped measurement goes on.

One instance of a runtime is not enough, however long it runs: where its memory comes to lie alone moves a layer's time by some
percent. And a minute in which the machine is slower must not hit one file only. So all files are timed once, then all again in
another order, and so on; in the end those whose median is still uncertain a few more times.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa_core.runtime.device import Device
from ofa_core.runtime.timing import Timing, standard_error, summary

MOST = 4
"""Times the least number of instances that an uncertain file is given."""


def measure(
    device: Device, models: Mapping[str, Path], instances: int, max_error: float, journal: Path, label: str
) -> dict[str, Timing]:
    """The latency of one run of each file, by name.

    instances: fresh runtimes each file is timed in, at least; up to `MOST` times as many while the standard error of its median
    is above `max_error` (a share of the median). journal: where every value is written down at once; what it holds already is
    not measured again if the device is the same. label: for the progress bar.
    Raises ValueError as the device does.
    """
    values = _resume(journal, models, device.info())
    with tqdm(total=instances * len(models), desc=label, unit="run", disable=None) as bar:
        bar.update(sum(min(len(known), instances) for known in values.values()))
        for turn in range(MOST * instances):
            names = [
                name
                for name, known in values.items()
                if len(known) <= turn and (len(known) < instances or standard_error(known) > max_error)
            ]
            with journal.open("a", encoding="utf-8") as f:
                for i in np.random.default_rng(turn).permutation(len(names)):
                    values[names[i]].append(round(device.milliseconds(models[names[i]]), 6))  # nanoseconds, the clock's unit
                    f.write(json.dumps([names[i], values[names[i]][-1]]) + "\n")
                    f.flush()
                    bar.update(turn < instances)
    return {name: summary(known) for name, known in values.items()}


def _resume(journal: Path, models: Mapping[str, Path], info: dict[str, Any]) -> dict[str, list[float]]:
    """The values of a journal that the same device wrote; any other one is begun anew."""
    values: dict[str, list[float]] = {name: [] for name in models}
    lines = journal.read_text(encoding="utf-8").split("\n") if journal.exists() else []
    complete = lines[:-1]  # a killed process may leave half a line behind
    if complete and json.loads(complete[0]) == info:
        for line in complete[1:]:
            name, value = json.loads(line)
            values[name].append(value)
    else:
        complete = [json.dumps(info)]
    journal.write_text("".join(line + "\n" for line in complete), encoding="utf-8")
    return values
