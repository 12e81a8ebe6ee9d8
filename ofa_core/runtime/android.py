"""Times TFLite files on an Android phone with the official `benchmark_model` program, over adb.

The program is TensorFlow's tensorflow/lite/tools/benchmark, either built from source or downloaded as a binary. Its messages
have changed over the years. `parse_output` reads the output of versions from 2018 to today.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ofa_core.run import files
from ofa_core.run.errors import InputError

FOLDER = "/data/local/tmp/ofa"
"""Folder on the phone from which a shell may run programs."""
TIMEOUT = 300
"""Longest time in seconds for one adb command."""
WARMUP_RUNS = 5
MIN_RUNS = 10
"""Fewest timed runs, even for a slow file."""

_NUMBER = r"([0-9.]+(?:[eE][+-]?[0-9]+)?)"
_STATISTICS = re.compile(r"count=(\d+) .*")
_SUMMARIES = tuple(
    re.compile(pattern + _NUMBER)
    for pattern in (
        r"Inference timings in us:.*Inference \(avg\): ",  # since 2020
        r"inference timings in us:.*Inference: ",  # 2019
        r"inference timings in us:.*no stats: ",  # before
    )
)


class AndroidDevice:
    """A phone in developer mode, connected by cable or by adb over the network.

    binary: the benchmark program for the phone's processor. serial: as `adb devices` lists it. None if only one is connected.
    cores: numbers of the cores to pin the program to. None: not pinned. threads, seconds: as in `HostDevice`.

    Raises InputError, one line: adb missing, no phone, several phones without a serial, a phone that has not authorised this
    computer, or program missing.
    """

    def __init__(
        self,
        binary: str | Path,
        serial: str | None = None,
        cores: Sequence[int] | None = None,
        threads: int = 1,
        seconds: float = 0.5,
    ) -> None:
        self.binary, self.serial, self.cores = Path(binary), serial, None if cores is None else list(cores)
        self.threads, self.seconds = threads, seconds
        if not self.binary.is_file():
            raise InputError(f"binary: {binary}: no such file; it is TensorFlow's benchmark_model, built for the phone")
        if shutil.which("adb") is None:
            raise InputError("adb: not found; install Android's platform tools and put adb on the PATH")
        self.serial = self._find()
        self._program = f"{FOLDER}/benchmark_model"
        self._adb("shell", f"mkdir -p {FOLDER}")
        self._adb("push", str(self.binary), self._program)
        self._adb("shell", f"chmod +x {self._program}")

    def info(self) -> dict[str, Any]:
        properties = (
            "ro.product.manufacturer",
            "ro.product.model",
            "ro.product.cpu.abi",
            "ro.board.platform",
            "ro.build.fingerprint",
        )
        maker, model, abi, platform, build = (self._adb("shell", f"getprop {name}").strip() for name in properties)
        return {
            "kind": "android",
            "cpu": f"{maker} {model}, {platform or 'unknown platform'}",
            "machine": abi,
            "system": build,
            "runtime": "benchmark_model",
            # The program does not print its version, so its MD5 identifies it.
            "runtime_version": f"md5 {files.md5(self.binary)}",
            "threads": self.threads,
            "affinity": self.cores,
            "serial": self.serial,
        }

    def milliseconds(self, model: Path) -> float:
        remote = f"{FOLDER}/model.tflite"
        self._adb("push", str(model), remote)
        pin = f"taskset {sum(1 << core for core in self.cores):x} " if self.cores else ""
        options = {
            "graph": remote,
            "num_threads": self.threads,
            "warmup_runs": WARMUP_RUNS,
            "warmup_min_secs": self.seconds / 5,
            "num_runs": MIN_RUNS,
            "min_secs": self.seconds,
        }
        arguments = " ".join(f"--{name}={value}" for name, value in options.items())
        return parse_output(self._adb("shell", f"{pin}{self._program} {arguments} 2>&1"))

    def _find(self) -> str:
        """The serial number of the phone, from `adb devices`."""
        lines = [line.split() for line in self._adb("devices", find=False).splitlines() if "\t" in line]
        states = {fields[0]: " ".join(fields[1:]) for fields in lines}
        if self.serial is None and len(states) > 1:
            raise InputError(f"serial: adb sees several devices, name one of {', '.join(states)}")
        serial = next(iter(states), None) if self.serial is None else self.serial
        if serial is None or serial not in states:
            which = f"no device {serial}, only {', '.join(states)}" if states else "no device"
            raise InputError(f"serial: adb sees {which}; connect the phone and enable USB debugging")
        if states[serial] == "unauthorized":
            raise InputError(f"serial: {serial} is unauthorised; unlock the phone and allow USB debugging from this computer")
        if states[serial] != "device":
            raise InputError(f"serial: {serial} is {states[serial]}; reconnect the phone")
        return serial

    def _adb(self, *arguments: str, find: bool = True) -> str:
        """The output of an adb command. Raises InputError with its message if it fails."""
        command = ["adb", *(("-s", str(self.serial)) if find else ()), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, errors="replace")
        except subprocess.TimeoutExpired:
            raise InputError(f"adb {arguments[0]}: no answer within {TIMEOUT} seconds") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
            raise InputError(f"adb {' '.join(arguments)[:80]}: {said[-1]}")
        return done.stdout


def parse_output(text: str) -> float:
    """Milliseconds of one run from the output of benchmark_model: the median if present, else the mean.

    Raises InputError, one line with the last line of the output, if there is no result.
    """
    runs = [match.group(0) for match in map(_STATISTICS.search, text.splitlines()) if match]
    # The first line of statistics is the warm-up. One line alone is not a result.
    if len(runs) > 1 and (median := re.search(rf"\bmedian={_NUMBER}", runs[-1])):
        return float(median.group(1)) / 1000
    for pattern in _SUMMARIES:
        if match := pattern.search(text):
            return float(match.group(1)) / 1000
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing at all")
    raise InputError(f"benchmark_model: no timing in its output; it ended with: {last[:200]}")
