"""A whole tiny run of `ofa make` on real pictures: killed once, gone on with, verified, and asked for another latency."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ofa_core.run import files
from tests.conftest import REPO
from tests.make.photos import some
from tests.pipeline.conftest import ENVIRONMENT

pytestmark = pytest.mark.slow


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ofa_core.commands.main", *map(str, arguments)]


def start(folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    environment = ENVIRONMENT | {"PYTHONPATH": str(REPO)}
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=1800)
    assert process.returncode == code, f"{out}\n{err}"
    return out, err


def ran(project: Path, since: int) -> list[str]:
    """The stages that ran according to the log, from a byte on."""
    lines = (project / "make.log").read_bytes()[since:].decode().splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage '")]


def test_a_run_that_is_killed_and_gone_on_with(tmp_path: Path) -> None:
    some(tmp_path / "photos", 40)
    project, arguments = tmp_path / "models", ("make", "photos", "--out", "models", "--minutes", "0.6", "--ms", "0.03")
    killed = start(tmp_path, *arguments)
    while not (project / "make.log").exists() or "shrink@all" not in ran(project, 0):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.2)
    killed.kill()
    killed.communicate()
    params = (project / "params.yaml").read_bytes()
    before = (project / "make.log").stat().st_size

    out, _ = finish(start(tmp_path, *arguments, "--json"))
    found: dict[str, Any] = json.loads(out)
    assert (project / "params.yaml").read_bytes() == params
    again = ran(project, before)
    assert (again[0], again[-1]) == ("shrink@all", "checksum")
    [model] = found["models"]
    assert model["id"] == "ofa-0_03ms"
    assert model["md5"] == files.md5(project / "release" / model["file"])
    assert model["latency_ms"] < 0.06
    assert (project / "reports/compare/pareto.svg").is_file()
    assert "OK" in finish(start(tmp_path, "verify", "models/release"))[0]
    assert (
        subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True).stdout == ""
    )
    assert set(found["seconds"]) <= set(found["planned_seconds"])
    assert len(found["seconds"]) > 10

    # Nothing is left to do.
    before = (project / "make.log").stat().st_size
    out, err = finish(start(tmp_path, *arguments))
    assert ran(project, before) == []
    assert out.splitlines()[0].startswith(f"going on with {project}")
    assert model["md5"] in out
    assert err == ""

    # A latency that no network meets is found out at once; the project stays.
    before = (project / "make.log").stat().st_size
    _, err = finish(start(tmp_path, *arguments[:-1], "0.000001"), code=2)
    assert err.startswith("error: --ms: 1e-06: the fastest network takes ")
    assert err.count("\n") == 1
    assert ran(project, before) == []

    # Another latency trains no super-network again.
    finish(start(tmp_path, *arguments[:-1], "0.04"))
    assert ran(project, before)[0] == "search"
    assert "ofa-0_04ms.tflite: OK" in finish(start(tmp_path, "verify", "models/release"))[0]
