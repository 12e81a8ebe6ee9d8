"""The whole pipeline in a temporary clone, with params/ci.yaml: from nothing to `md5sum -c`, and then what may go wrong."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ofa_core.datasets import fashion_mnist
from ofa_core.run import files
from tests.conftest import REPO

pytestmark = pytest.mark.slow
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org",
}  # fmt: skip
ENVIRONMENT.pop("PYTHONPATH", None)  # the clone's own code must be what runs


class Clone:
    """A copy of the repository's files in a git and DVC repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if name == "dvc.lock" or name.startswith(("reports/", "release/", "studies/")) or not (REPO / name).is_file():
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, folder / name)
        shutil.copy(REPO / "params/ci.yaml", folder / "params.yaml")
        self.run("git", "init", "-q")
        self.commit()

    def run(self, *command: str, code: int = 0) -> str:
        """What a command prints; fails when its exit code is another one."""
        done = subprocess.run(
            command, cwd=self.folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == code, f"{' '.join(command)} exited {done.returncode}:\n{done.stdout[-4000:]}"
        return done.stdout

    def commit(self) -> None:
        """Commits everything."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state")

    def would_run(self) -> list[str]:
        """The stages that `dvc repro` would run now."""
        return re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", "--dry"))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces a text in a file, which must hold it."""
        text = (self.folder / name).read_text()
        assert old in text, f"{name} lacks {old}"
        (self.folder / name).write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The pipeline after a first `dvc repro`, everything committed."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    try:
        fashion_mnist.find(clone.folder / "data/raw")
    except ValueError as error:
        pytest.skip(f"Fashion-MNIST is not to be had: {error}")
    clone.run("ofa", "check")
    clone.run("dvc", "repro")
    clone.commit()
    return clone


@pytest.fixture
def edited(clone: Clone) -> Iterator[Clone]:
    """The clone, put back after the test."""
    yield clone
    clone.run("git", "checkout", "-q", "--", ".")


def test_release_is_whole(clone: Clone) -> None:
    sums = subprocess.run(["md5sum", "-c", "MD5SUMS"], cwd=clone.folder / "release", capture_output=True, text=True, check=True)
    assert sums.stdout.count(": OK") == 15  # three models: uint8, float, onnx, safetensors, labels
    clone.run("ofa", "verify", "release")


def test_second_run_has_nothing_to_do(clone: Clone) -> None:
    assert "Data and pipelines are up to date." in clone.run("dvc", "repro")
    assert clone.run("git", "status", "--porcelain") == ""
    assert not (clone.folder / ".work").exists() or not [p for p in (clone.folder / ".work").iterdir() if p.is_dir()]


def test_dvc_shows_metrics_plots_and_graph(clone: Clone) -> None:
    shown = clone.run("dvc", "metrics", "show", "--json")
    assert '"reports/evaluate/accurate.json"' in shown
    assert '"error"' not in shown
    assert "shrink@expand_2" in clone.run("dvc", "dag")
    plots = clone.run("dvc", "plots", "show", "--json")
    assert "reports/shrink/kernel.csv" in plots
    assert '"errors"' not in plots


def test_released_file_from_a_git_url(clone: Clone, tmp_path: Path) -> None:
    clone.run("dvc", "get", f"file://{clone.folder}", "release/ofa-fast.tflite", "-o", str(tmp_path / "fast.tflite"))
    assert files.md5(tmp_path / "fast.tflite") == files.md5(clone.folder / "release/ofa-fast.tflite")


def test_targets_do_not_retrain(edited: Clone) -> None:
    edited.edit("params.yaml", "{fraction: 0.3}", "{fraction: 0.4}")
    assert "search.targets.accurate.fraction" in edited.run("dvc", "params", "diff")
    stages = edited.would_run()
    assert stages[0] == "search"
    assert not [name for name in stages if name.startswith(("train", "shrink", "collect", "fit", "prepare", "build"))]


def test_export_edits_do_not_retrain(edited: Clone) -> None:
    edited.edit("ofa_core/convert/network.py", '"""The TensorFlow twin', '"""The twin in TensorFlow')
    stages = edited.would_run()
    assert "export@fast" in stages
    assert not [name for name in stages if name.startswith(("train", "shrink", "collect", "fit", "prepare"))]


def test_training_edits_retrain(edited: Clone) -> None:
    edited.edit("ofa_core/nn/mbconv.py", '"""The elastic mobile', '"""The truly elastic mobile')
    assert edited.would_run()[0] == "train_supernet"


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
    """The steps that a checkpoint holds; the first is written before the first step."""
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
    # The bar begins at the checkpoint's step, not at 0.
    assert re.search(r"expand_1:\s+\d+%", output)
    assert not re.search(r"expand_1:\s+0%\|[^|]*\| 0/", output)
    assert files.md5(weights) == expected
