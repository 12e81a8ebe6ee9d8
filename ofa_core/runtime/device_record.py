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
FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
"""Instruction sets for which XNNPACK has kernels of its own, as /proc/cpuinfo names them. Processors of one name differ in
them: with AVX-512 VNNI, integer files take half the time."""


def host_device(threads: int = 1) -> dict[str, Any]:
    """This machine and its TFLite runtime: kind, cpu, features, machine, system, runtime, runtime_version, threads."""
    runtime, number = _runtime()
    known = _cpu_info()
    found = (known.get("flags") or known.get("Features") or "").split()
    return {
        "kind": "host",
        "cpu": known.get("model name") or platform.processor() or "unknown",
        "features": [feature for feature in FEATURES if feature in found],
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
    """Differences between two device records as `field: a, b` lines, without date and runtime.

    A field that the table's record lacks, because it is older, is no difference.
    """
    return _changes(table, now, [key for key in now if key in table and key not in ("date", *RUNTIME_FIELDS)])


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


def _cpu_info() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
