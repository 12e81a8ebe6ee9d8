"""Repeated timing of many files in turns, until the medians are certain. A journal lets a stopped measurement resume.

One instance of a runtime is not enough, even if it runs for long: the placement of its memory alone changes a layer's time by
some percent. And a slow minute of the machine must not affect just one file. So all files are timed once, then all again in
another order, and so on. Files whose median is still uncertain are then timed a few more times.
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
"""Most instances for an uncertain file, as a multiple of the fewest."""


def measure(
    device: Device, models: Mapping[str, Path], instances: int, max_error: float, journal: Path, label: str
) -> dict[str, Timing]:
    """The latency of one run of each file, by name.

    instances: fewest fresh runtimes in which each file is timed. Up to `MOST` times as many are used while the standard error
    of its median is above `max_error` (a share of the median).
    journal: file to which every value is written at once. Values in it are not measured again if the device is the same.
    label: for the progress bar. Raises InputError as the device does.
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
                    values[names[i]].append(round(device.milliseconds(models[names[i]]), 6))  # whole nanoseconds, as the clock
                    f.write(json.dumps([names[i], values[names[i]][-1]]) + "\n")
                    f.flush()
                    bar.update(turn < instances)
    return {name: summary(known) for name, known in values.items()}


def _resume(journal: Path, models: Mapping[str, Path], info: dict[str, Any]) -> dict[str, list[float]]:
    """The values of a journal from the same device. Any other journal is started again."""
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
