"""Times TFLite files on this machine."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.runtime.device_record import host_device
from ofa_core.runtime.tflite import make_interpreter
from ofa_core.runtime.timing import Timing, summary

MIN_RUNS = 10
"""Fewest timed runs of an interpreter instance, even if it is slow."""
UNDISTURBED = 10
"""Percentile of the runs of an instance that is taken as its time."""


class HostDevice:
    """This machine, one TFLite interpreter at a time.

    threads: threads of the interpreter. seconds: duration of the timed runs of each instance (at least `MIN_RUNS` runs).
    cores: numbers of the cores to pin the runs to. None: not pinned.
    Raises InputError for numbers that are not above zero, and for cores that this process may not use.
    """

    def __init__(self, threads: int = 1, seconds: float = 0.03, cores: list[int] | None = None) -> None:
        if threads < 1 or seconds <= 0:
            raise InputError(f"threads {threads}, seconds {seconds}: each must be above zero")
        self.threads, self.seconds, self.cores = threads, seconds, cores
        if cores is not None and hasattr(os, "sched_getaffinity") and not set(cores) <= os.sched_getaffinity(0):
            raise InputError(f"cores: {cores}: this process may use {sorted(os.sched_getaffinity(0))}")

    def info(self) -> dict[str, Any]:
        return host_device(self.threads) | {"affinity": self.cores}

    def milliseconds(self, model: Path) -> float:
        with _pinned(self.cores):
            return _run_time(model.read_bytes(), self.threads, self.seconds)


def time_model(model: str | Path | bytes, threads: int = 1, instances: int = 3, seconds: float = 0.2) -> Timing:
    """The latency of one TFLite file on this machine, in `instances` fresh interpreters. Other arguments as in `HostDevice`.

    Raises InputError for a file that is not a TFLite model.
    """
    if instances < 1:
        raise InputError(f"instances {instances}: must be above zero")
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    return summary([_run_time(content, threads, seconds) for _ in range(instances)])


def time_in_turns(contents: Mapping[str, bytes], threads: int = 1, rounds: int = 5, seconds: float = 0.1) -> dict[str, float]:
    """Milliseconds of several TFLite files by name: medians over rounds.

    Each round times every file in a fresh interpreter, so a busy minute of the machine does not affect just one file. Raises as
    `time_model` does.
    """
    found = [{name: time_model(file, threads, 1, seconds).median_ms for name, file in contents.items()} for _ in range(rounds)]
    return {name: median(times[name] for times in found) for name in contents}


@contextmanager
def _pinned(cores: list[int] | None) -> Iterator[None]:
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _run_time(content: bytes, threads: int, seconds: float) -> float:
    """Milliseconds of an undisturbed run with a fresh interpreter and random inputs."""
    interpreter = make_interpreter(content, threads)
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        noise = rng.random(details["shape"], dtype=np.float32)
        if details["dtype"] != np.float32:
            limits = np.iinfo(details["dtype"])
            noise = limits.min + noise * (limits.max - limits.min)
        interpreter.set_tensor(details["index"], noise.astype(details["dtype"]))
    clock = clock_of(threads)
    _runs(interpreter.invoke, clock, seconds / 5)  # warm-up
    # Other programs can only make a run slower, through shared caches. So a low percentile is the time of the file itself.
    return float(np.percentile(_runs(interpreter.invoke, clock, seconds), UNDISTURBED)) / 1e6


def clock_of(threads: int) -> Callable[[], int]:
    """The clock, in nanoseconds, of runs with so many threads.

    The CPU time of a single thread is the same on a busy and an idle machine. On an idle machine it equals wall time.
    """
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns


def _runs(invoke: Callable[[], None], clock: Callable[[], int], seconds: float) -> list[int]:
    """Nanoseconds of each run. Runs until `seconds` have passed, and at least `MIN_RUNS` times."""
    durations: list[int] = []
    before = clock()
    end = before + int(seconds * 1e9)
    while before < end or len(durations) < MIN_RUNS:
        invoke()
        after = clock()
        durations.append(after - before)
        before = after
    return durations
