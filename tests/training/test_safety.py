"""Safety of training: diverging losses, termination, a full disk."""

import itertools
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa_core.training import loop
from ofa_core.training.checkpoint import Progress, TrainingState
from ofa_core.training.images import Images
from tests.small_training import RARELY, SCHEDULE, fresh, state_bytes, train_supernet


def test_astray_losses_roll_back_and_then_stop(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An injected NaN sends training back to the last checkpoint at half the rate. Too many stop it, with a checkpoint left.

    Losses are read at the end of a row of the history, here every 2 steps.
    """
    monkeypatch.setattr(loop, "HISTORY_STEPS", 2)
    images = Images(dataset, "train")
    step, calls = loop._gradients, itertools.count()

    def poisoned(bad: set[int]) -> None:
        def run(*args: Any) -> torch.Tensor:
            loss = step(*args)
            return loss * math.nan if next(calls) in bad else loss

        monkeypatch.setattr(loop, "_gradients", run)

    def run(work: Path) -> list[dict[str, float]]:
        return train_supernet(fresh(), images, work).history

    poisoned({4})
    history = run(tmp_path / "a")
    assert history[-1]["step"] == 10
    assert next(calls) == 10 + 2
    assert history[-1]["lr"] == pytest.approx(SCHEDULE.rate(9, 10) / 2)
    poisoned(set(range(1000)))
    with pytest.raises(ValueError, match="demo: the loss is nan at step 2, after 2 rollbacks"):
        run(tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["checkpoint.pt"]


def test_sudden_losses_roll_back(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HISTORY_STEPS", 2)
    step, calls = loop._gradients, itertools.count()
    monkeypatch.setattr(loop, "_gradients", lambda *args: step(*args) * (20 if next(calls) == 6 else 1))
    history = train_supernet(fresh(), Images(dataset, "train"), tmp_path).history
    assert next(calls) == 10 + 2
    assert max(row["loss"] for row in history) < 10


@pytest.mark.parametrize(
    ("loss", "before", "astray"),
    [
        (0.19, 0.036, False),
        (2.4, 0.036, True),
        (2.4, 0.6, False),
        (3.1, 0.6, True),
        (float("inf"), 0.6, True),
        (9.0, None, False),
    ],
)
def test_a_spike_is_above_guessing(loss: float, before: float | None, astray: bool) -> None:
    """Late in training, single batches can be far above a mean near zero. For ten classes, guessing has a loss of 2.3."""
    progress = Progress(history=[] if before is None else [{"loss": before}])
    assert loop._astray(loss, progress, 5.0, math.log(10)) == astray


def test_termination_checkpoints_first(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images(dataset, "train")
    expected_net = fresh()
    train_supernet(expected_net, images, tmp_path / "whole", machine=RARELY)

    step, calls = loop._gradients, itertools.count()

    def terminated(*args: Any) -> torch.Tensor:
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args)

    monkeypatch.setattr(loop, "_gradients", terminated)
    with pytest.raises(SystemExit, match="demo: terminated at step 6 of 10"):
        train_supernet(fresh(), images, tmp_path, machine=RARELY)
    net = fresh()
    train_supernet(net, images, tmp_path, machine=RARELY)
    assert next(calls) == 10
    assert state_bytes(net) == state_bytes(expected_net)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_full_disk_keeps_the_last_checkpoint(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = fresh()
    state = TrainingState(net, torch.optim.SGD(net.parameters(), 0.1), None, Progress(step=3))
    state.save(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        state.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
