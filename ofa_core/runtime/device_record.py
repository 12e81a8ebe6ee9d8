"""What a latency was measured on, as plain data."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RUNTIMES = ("ai-edge-litert", "tensorflow", "tensorflow-cpu")
"""Packages with a TFLite interpreter, in the order in which `ofa_core.runtime.tflite` prefers them."""
RUNTIME_FIELDS = ("runtime", "runtime_version")
"""What changes in a device record when a package is updated."""


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
    """A device record in one line, for cards and tables of metrics."""
    threads = f"{device['threads']} thread{'s' if device['threads'] > 1 else ''}"
    return f"{device['cpu']} ({device['machine']}), {device['runtime']} {device['runtime_version']}, {threads}"


def differences(table: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What makes two device records different devices, as `field: a, b` lines; date and runtime do not count."""
    return _changes(table, now, [key for key in now if key not in ("date", *RUNTIME_FIELDS)])


def runtime_changes(table: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not the same in the runtimes of two device records, as `field: a, b` lines."""
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
    """The processor's name; Linux tells it in /proc/cpuinfo only, elsewhere Python may know it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
