"""Timing TFLite files on the machine this runs on."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from ofa_core.export.runtime import make_interpreter
from ofa_core.latency.device import host_device
from ofa_core.latency.table import Timing

MIN_RUNS = 10
"""Fewest timed runs of an interpreter instance, however slow it is."""


class Device(Protocol):
    """Something that runs TFLite files and tells how long they take."""

    def info(self) -> dict[str, Any]:
        """What a latency table records about it, with the date."""
        ...

    def time(self, models: Mapping[str, bytes], label: str) -> dict[str, Timing]:
        """The latency of one run of each file, by name. label: for the progress bar."""
        ...


class HostDevice:
    """This machine, one TFLite interpreter at a time.

    threads: of the interpreter. instances: fresh interpreters for each file; where its memory comes to lie alone moves a
    layer's time by some percent. seconds: of timed runs with each instance (at least `MIN_RUNS` runs).
    """

    def __init__(self, threads: int = 1, instances: int = 3, seconds: float = 0.03) -> None:
        if threads < 1 or instances < 1 or seconds <= 0:
            raise ValueError(f"threads {threads}, instances {instances}, seconds {seconds}: each must be above zero")
        self.threads, self.instances, self.seconds = threads, instances, seconds

    def info(self) -> dict[str, Any]:
        return host_device(self.threads) | {"date": datetime.now(UTC).date().isoformat()}

    def time(self, models: Mapping[str, bytes], label: str = "timing") -> dict[str, Timing]:
        medians: dict[str, list[float]] = {name: [] for name in models}
        rng = np.random.default_rng(0)
        with tqdm(total=self.instances * len(models), desc=label, unit="run", disable=None) as bar:
            # All files once, then all again in another order: a busy minute of the machine does not hit one file only.
            for _ in range(self.instances):
                for name in rng.permutation(list(models)):
                    medians[name].append(_run_median(models[name], self.threads, self.seconds))
                    bar.update()
        return {name: _summary(values) for name, values in medians.items()}


def time_model(model: str | Path | bytes, threads: int = 1, instances: int = 3, seconds: float = 0.2) -> Timing:
    """The latency of one TFLite file on this machine; arguments as in `HostDevice`.

    Raises ValueError for a file that is not a TFLite model.
    """
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    return _summary([_run_median(content, threads, seconds) for _ in range(instances)])


def _summary(values: list[float]) -> Timing:
    # Rounded to nanoseconds, the clock's unit.
    return Timing(count=len(values), median_ms=round(median(values), 6), spread_ms=round(max(values) - min(values), 6))


def _run_median(content: bytes, threads: int, seconds: float) -> float:
    """Median milliseconds of a run with a fresh interpreter and random inputs."""
    interpreter = make_interpreter(content, threads)
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        noise = rng.random(details["shape"], dtype=np.float32)
        if details["dtype"] != np.float32:
            limits = np.iinfo(details["dtype"])
            noise = limits.min + noise * (limits.max - limits.min)
        interpreter.set_tensor(details["index"], noise.astype(details["dtype"]))
    invoke, clock = interpreter.invoke, time.perf_counter_ns
    _runs(invoke, clock, seconds / 5)  # warm-up
    return median(_runs(invoke, clock, seconds)) / 1e6


def _runs(invoke: Any, clock: Any, seconds: float) -> list[int]:
    """Nanoseconds of each run, until `seconds` have passed."""
    durations: list[int] = []
    end = clock() + int(seconds * 1e9)
    before = clock()
    while before < end or len(durations) < MIN_RUNS:
        invoke()
        after = clock()
        durations.append(after - before)
        before = after
    return durations
