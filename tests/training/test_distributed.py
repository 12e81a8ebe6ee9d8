"""Two processes that train together under torchrun, compared with one process that does their work."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ofa_core.run import files
from ofa_core.training.distributed import Group, joined
from ofa_core.training.images import Images
from tests.conftest import REPO
from tests.small_training import SHARED, fresh, train_supernet


def run(processes: int, dataset: Path, folder: Path, *more: str) -> Path:
    """Runs tests/ranks.py under torchrun. Returns its folder."""
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=1"]
    command = [sys.executable, *launcher, "-m", "tests.ranks", str(dataset), str(folder), *more]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_are_one_with_ghost_batch_norm(dataset: Path, tmp_path: Path) -> None:
    """Two processes with half the batch give the same weights as one that normalises the two halves separately (20 steps)."""
    one, two = run(1, dataset, tmp_path / "one"), run(2, dataset, tmp_path / "two")
    weights = [load_file(folder / "net.safetensors") for folder in (one, two)]
    start = fresh().state_dict()
    for name, value in weights[0].items():
        # Two processes average running statistics over both halves. One process updates them half by half.
        if "running" not in name:
            torch.testing.assert_close(weights[1][name], value, rtol=1e-6, atol=1e-9)
    assert any(not torch.equal(value, start[name]) for name, value in weights[0].items())
    accuracies = [files.read_json(folder / "accuracies.json") for folder in (one, two)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.02)  # of 160 images
    assert len(set(accuracies[0])) > 1


def test_a_lost_process_is_restarted(dataset: Path, tmp_path: Path) -> None:
    """torchrun restarts all processes. They resume from the last checkpoint and end with the weights of an unbroken run."""
    whole, broken = run(2, dataset, tmp_path / "whole"), run(2, dataset, tmp_path / "broken", "10")
    assert (broken / "died").exists()
    assert files.md5(broken / "net.safetensors") == files.md5(whole / "net.safetensors")


def test_a_batch_that_cannot_be_shared_out(dataset: Path, tmp_path: Path) -> None:
    third = Group(0, 3, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"training.batch_size: 32 cannot be cut into 3 equal parts"):
        train_supernet(fresh(), Images(dataset, "train"), tmp_path, group=third)
    with pytest.raises(ValueError, match="batch_size: 32 cannot be cut into 3 equal parts"):
        replace(SHARED, accumulate=3)
    with joined("auto") as group:
        assert (group.rank, group.size, group.is_first) == (0, 1, True)
        assert group.gather([1, 2]) == [1, 2]
        assert group.sum([1.5]) == [1.5]
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"training.device: cuda: torch sees no GPU"), joined("cuda"):
            pass
