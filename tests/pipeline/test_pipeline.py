"""The whole pipeline in a temporary clone, with params/ci.yaml: from nothing to `md5sum -c`, then failures."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from ofa_core.run import files
from ofa_core.run.stage import METRICS
from tests.pipeline.conftest import ENVIRONMENT, Clone

pytestmark = pytest.mark.slow


def test_release_is_whole(clone: Clone) -> None:
    sums = subprocess.run(["md5sum", "-c", "MD5SUMS"], cwd=clone.folder / "release", capture_output=True, text=True, check=True)
    assert sums.stdout.count(": OK") == 15  # three models: uint8, float, onnx, safetensors, labels
    clone.run("ofa", "verify", "release")


def test_second_run_has_nothing_to_do(clone: Clone) -> None:
    assert "Data and pipelines are up to date." in clone.run("dvc", "repro")
    assert clone.run("git", "status", "--porcelain") == ""
    assert not (clone.folder / ".work").exists() or not [p for p in (clone.folder / ".work").iterdir() if p.is_dir()]


def test_metrics_fit_the_terminal(clone: Clone) -> None:
    shown = clone.run("dvc", "metrics", "show")
    assert "reports/evaluate/accurate.json" in shown
    assert max(map(len, shown.splitlines())) <= 120
    files_shown = json.loads(clone.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert "reports/shrink/all.json" in files_shown
    for path, found in files_shown.items():
        assert list(found) == ["data"], f"{path}: {found}"
        values = found["data"]
        assert len(values) <= 8
        assert set(values) <= set(METRICS), path
        assert all(isinstance(value, float) for value in values.values()), path
    assert all(0 <= found["data"]["top1"] <= 1 for found in files_shown.values() if "top1" in found["data"])


def test_details_stand_beside_the_metrics(clone: Clone) -> None:
    folder = clone.folder / "reports"
    assert files.read_json(folder / "shrink/kernel_details.json")["subnets_top1"].keys() == {
        f"{name}_r{r}" for name in ("largest", "middle", "smallest") for r in (20, 28)
    }
    [manifest] = [m for m in files.read_json(clone.folder / "release/manifest.json")["models"] if m["id"] == "ofa-fast"]
    both = [files.read_json(folder / f"evaluate/fast{suffix}.json") for suffix in ("", "_details")]
    assert manifest["metrics"] == both[0] | both[1]
    assert {"split", "top1", "top5", "float_top1", "latency_ms", "predicted_latency_ms", "device"} <= manifest["metrics"].keys()


def test_plots(clone: Clone) -> None:
    shown = json.loads(clone.run("dvc", "plots", "show", "--json"))
    assert "errors" not in shown
    drawn = set(shown["data"])
    assert {"losses", "validation", "reports/train_supernet.csv", "reports/shrink/kernel.csv"} <= drawn
    assert {f"reports/compare/{name}.svg" for name in ("pareto", "shrinking", "cost")} <= drawn


def test_graph(clone: Clone) -> None:
    assert "shrink@all" in clone.run("dvc", "dag")


def test_released_file_from_a_git_url(clone: Clone, tmp_path: Path) -> None:
    clone.run("dvc", "get", f"file://{clone.folder}", "release/ofa-fast.tflite", "-o", str(tmp_path / "fast.tflite"))
    assert files.md5(tmp_path / "fast.tflite") == files.md5(clone.folder / "release/ofa-fast.tflite")


def test_targets_do_not_retrain(edited: Clone) -> None:
    edited.edit("params.yaml", "{fraction: 0.75}", "{fraction: 0.8}")
    assert "search.targets.accurate.fraction" in edited.run("dvc", "params", "diff")
    stages = edited.would_run()
    assert stages[0] == "search"
    assert not [name for name in stages if name.startswith(("train", "shrink", "collect", "fit", "prepare", "build"))]


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        (
            "params.yaml",
            "lr: 0.04",
            "lr: fast",
            "params.yaml: shrink.phases.kernel.lr: 'fast': input should be a valid number",
        ),
        ("params.yaml", "  batch_size: 64\n", "", "params.yaml: training.batch_size: missing"),
        (
            "params.yaml",
            "batch_size: 64",
            "batch_size: 64000",
            "params.yaml: training.batch_size: 64000 is more than the 1536 train images",
        ),
    ],
)
def test_mistakes_end_with_one_line(edited: Clone, name: str, old: str, new: str, line: str) -> None:
    edited.edit(name, old, new)
    output = edited.run("python", "-m", "stages.shrink", "--phase", "kernel", code=2)
    assert output.strip().splitlines()[-1] == f"error: {line}"
    assert "Traceback" not in output


def test_export_repeats_byte_for_byte(clone: Clone) -> None:
    before = (clone.folder / "release/MD5SUMS").read_text()
    clone.run("dvc", "repro", "--force", "--single-item", "export@medium")
    clone.run("dvc", "repro", "--force", "--single-item", "checksum")
    assert (clone.folder / "release/MD5SUMS").read_text() == before


def finished_steps(checkpoint: Path) -> int:
    """The steps done in a checkpoint. The first is written before the first step."""
    return int(torch.load(checkpoint, weights_only=True)["progress"]["step"])


def test_killed_phase_resumes_and_ends_the_same(clone: Clone) -> None:
    weights = clone.folder / "build/supernet/expand_1.safetensors"
    expected = files.md5(weights)
    command = ["dvc", "repro", "--force", "--single-item", "shrink@expand_1"]
    running = subprocess.Popen(command, cwd=clone.folder, env=ENVIRONMENT, start_new_session=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 300
    while not any(finished_steps(path) for path in clone.folder.glob(".work/*/checkpoint.pt")):
        assert running.poll() is None, "the phase ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not weights.exists()
    output = clone.run(*command)
    # The bar starts at the checkpoint's step, not at 0.
    assert re.search(r"expand_1:\s+\d+%", output)
    assert not re.search(r"expand_1:\s+0%\|[^|]*\| 0/", output)
    assert files.md5(weights) == expected
