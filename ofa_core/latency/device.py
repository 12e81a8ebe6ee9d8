"""What a latency was measured on, as plain data."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RUNTIMES = ("ai-edge-litert", "tensorflow", "tensorflow-cpu")
"""Packages with a TFLite interpreter, in the order in which `ofa_core.export.runtime` prefers them."""


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
    """What is not the same in two device records, as `field: a, b` lines; the date of the measurement does not count."""
    return [f"{key}: {table.get(key)}, {value}" for key, value in now.items() if key != "date" and table.get(key) != value]


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
