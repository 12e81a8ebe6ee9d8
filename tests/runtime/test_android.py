"""Phones: output of benchmark_model over the years, and timing over adb with a script in place of adb."""

import os
from pathlib import Path

import pytest

from ofa_core.latency.params import AndroidParams
from ofa_core.measure.device_table import make_device
from ofa_core.run import files
from ofa_core.runtime.android import AndroidDevice, parse_output
from tests.convert.test_timed_files import device

# Output of the program, by version. The warm-up comes first.
OUTPUTS = {
    "2018": (
        "Running benchmark for 1 iterations\ncount=1 curr=146161\n\nRunning benchmark for 50 iterations\n"
        "count=50 first=137789 curr=137254 min=137079 max=143416 avg=137722 std=896\n\n"
        "Average inference timings in us: Warmup: 146161, Init: 4452, no stats: 137722\n",
        137.722,
    ),
    "2019": (
        "count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929\nMemory (bytes): count=0\n31 nodes observed\n\n"
        "Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9\n",
        79.7609,
    ),
    "2020": (
        "count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930\n\n"
        "count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450\n\n"
        "Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4\n"
        "Peak memory footprint (MB): init=0 overall=12.8672\n",
        33.2094,
    ),
    "scientific": (
        "count=1 curr=3512391\n\ncount=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798\n\n"
        "Inference timings in us: Init: 17187, First inference: 3512391, "
        "Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06\n",
        2950.34,
    ),
    "today": (
        "INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112\n\n"
        "INFO: count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716 p5=49620 median=51891 p95=68628\n\n"
        "INFO: Inference timings in us: Init: 119515, First inference: 87112, "
        "Warmup (avg): 58147.4, Inference (avg): 63743.2\n",
        51.891,
    ),
}

ADB = """#!/bin/sh
# Stands in for adb: one phone, whose answers are files beside this script. Every call is written to the file calls.
here=$(dirname "$0")
echo "$*" >> "$here/calls"
if [ "$1" = devices ]; then cat "$here/devices"; exit 0; fi
[ "$1" = -s ] && shift 2
case "$1 $2" in
  push*) [ -f "$2" ] || { echo "adb: error: cannot stat '$2': No such file or directory" >&2; exit 1; } ;;
  "shell getprop ro.product.model") echo "Pixel 2" ;;
  "shell getprop"*) echo "some ${2##*.}" ;;
  *--graph=*) cat "$here/output"; exit "$(cat "$here/code")" ;;
esac
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an adb that finds one phone, which runs a current benchmark_model."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "adb").write_text(ADB)
    (folder / "adb").chmod(0o755)
    (folder / "devices").write_text("List of devices attached\nFA7AB1\tdevice\n\n")
    (folder / "output").write_text(OUTPUTS["today"][0])
    (folder / "code").write_text("0")
    (tmp_path / "benchmark_model").write_bytes(b"a program")
    (tmp_path / "model.tflite").write_bytes(b"a model")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("version", OUTPUTS)
def test_outputs_of_every_version(version: str) -> None:
    text, milliseconds = OUTPUTS[version]
    assert parse_output(text) == pytest.approx(milliseconds)
    assert parse_output("".join(f"I tflite  : {line}\r\n" for line in text.splitlines())) == pytest.approx(milliseconds)


def test_output_without_a_result_is_an_error_with_its_last_words() -> None:
    with pytest.raises(ValueError, match="ended with: ERROR: Failed to load graph"):
        parse_output("count=1 curr=3512391 median=7\nERROR: Failed to load graph\n\n")
    with pytest.raises(ValueError, match="nothing at all"):
        parse_output("")


def test_timing_on_a_phone(phone: Path) -> None:
    binary = phone.parent / "benchmark_model"
    found = AndroidDevice(binary, cores=[4, 7], seconds=0.25)
    assert found.milliseconds(phone.parent / "model.tflite") == pytest.approx(51.891)
    calls = (phone / "calls").read_text().splitlines()
    assert calls[0] == "devices"
    assert all(call.startswith("-s FA7AB1 ") for call in calls[1:])
    assert f"-s FA7AB1 push {binary} /data/local/tmp/ofa/benchmark_model" in calls
    assert "shell taskset 90 /data/local/tmp/ofa/benchmark_model --graph=/data/local/tmp/ofa/model.tflite" in calls[-1]
    assert "--num_threads=1 " in calls[-1]
    info = found.info()
    assert info["cpu"] == "some manufacturer Pixel 2, some platform"
    assert info["runtime_version"] == f"md5 {files.md5(binary)}"
    assert (info["machine"], info["threads"], info["affinity"]) == ("some abi", 1, [4, 7])


@pytest.mark.parametrize(
    ("listed", "serial", "message"),
    [
        ("", None, "sees no device; connect"),
        ("FA7AB1\tunauthorized", None, "FA7AB1 is unauthorised; unlock the phone"),
        ("FA7AB1\toffline", None, "FA7AB1 is offline"),
        ("FA7AB1\tdevice\nemulator-5554\tdevice", None, "several devices, name one of FA7AB1, emulator-5554"),
        ("FA7AB1\tdevice", "XYZ", "no device XYZ, only FA7AB1"),
    ],
)
def test_phones_that_cannot_be_used(phone: Path, listed: str, serial: str | None, message: str) -> None:
    (phone / "devices").write_text(f"* daemon started successfully\nList of devices attached\n{listed}\n\n")
    with pytest.raises(ValueError, match=message) as error:
        AndroidDevice(phone.parent / "benchmark_model", serial)
    assert "\n" not in str(error.value)


def test_no_adb_and_no_program(phone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"binary: .*missing: no such file"):
        AndroidDevice(phone.parent / "missing")
    (phone / "adb").unlink()
    monkeypatch.setenv("PATH", str(phone))
    with pytest.raises(ValueError, match="adb: not found"):
        AndroidDevice(phone.parent / "benchmark_model")


def test_a_run_that_fails_or_prints_something_else(phone: Path) -> None:
    found = AndroidDevice(phone.parent / "benchmark_model")
    with pytest.raises(ValueError, match=r"cannot stat '.*absent"):
        found.milliseconds(phone.parent / "absent")
    (phone / "output").write_text("Inference took 12 parsecs\n")
    with pytest.raises(ValueError, match="no timing in its output; it ended with: Inference took 12 parsecs"):
        found.milliseconds(phone.parent / "model.tflite")
    (phone / "code").write_text("126")
    with pytest.raises(ValueError, match=r"adb shell .*: Inference took 12 parsecs"):
        found.milliseconds(phone.parent / "model.tflite")


def test_device_from_parameters(phone: Path) -> None:
    android = AndroidParams(binary=str(phone.parent / "benchmark_model"), serial="FA7AB1")
    params = device(kind="android", android=android, source="measure", file=None, file_md5=None, cores=[7])
    assert make_device("phone", params).info()["kind"] == "android"
    with pytest.raises(ValueError, match="android: kind is host"):
        device(android=android)
    with pytest.raises(ValueError, match="android: kind is android"):
        device(kind="android")
