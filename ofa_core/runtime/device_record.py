"""The device and runtime of a latency measurement, as plain data."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RUNTIMES = ("ai-edge-litert", "tensorflow", "tensorflow-cpu")
"""Packages with a TFLite interpreter, in the order of preference of `ofa_core.runtime.tflite`."""
RUNTIME_FIELDS = ("runtime", "runtime_version")
"""Fields of a device record that change if a package is updated."""


def host_device(threads: int = 1) -> dict[str, Any]:
    """This machine and its TFLite runtime: kind, cpu, machine, system, runtime, runtime_version, threads."""
    runtime, number = _runtime()
    return {
        "kind": "host",
        "cpu": _cpu_model(),
        "machine": platform.machine(),
        "system": platform.system(),
        "runtime": runtime,
        "runtime_version": number,
        "threads": threads,
    }


def device_name(device: dict[str, Any]) -> str:
    """A device record as one line, for model cards and tables of metrics."""
    threads = f"{device['threads']} thread{'s' if device['threads'] > 1 else ''}"
    return f"{device['cpu']} ({device['machine']}), {device['runtime']} {device['runtime_version']}, {threads}"


def differences(table: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Differences between two device records as `field: a, b` lines, without date and runtime."""
    return _changes(table, now, [key for key in now if key not in ("date", *RUNTIME_FIELDS)])


def runtime_changes(table: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Differences between the runtimes of two device records, as `field: a, b` lines."""
    return _changes(table, now, RUNTIME_FIELDS)


def _changes(a: dict[str, Any], b: dict[str, Any], keys: Iterable[str]) -> list[str]:
    return [f"{key}: {a.get(key)}, {b.get(key)}" for key in keys if a.get(key) != b.get(key)]


def _runtime() -> tuple[str, str]:
    for package in RUNTIMES:
        try:
            return package, version(package)
        except PackageNotFoundError:
            continue
    return "none", ""


def _cpu_model() -> str:
    """The processor's name: from /proc/cpuinfo on Linux, elsewhere from Python if it knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
