"""One line for a whole run: what is read from DVC's output, and what becomes of a killed or failed run."""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ofa_core.make.progress import Progress, locked, repro
from ofa_core.run.errors import InputError
from tests.conftest import REPO

SECONDS = {"prepare": 10.0, "train_supernet": 40.0, "shrink@all": 50.0}


def pipeline(folder: Path, command: str) -> Path:
    """A pipeline of one stage."""
    folder.mkdir()
    (folder / "dvc.yaml").write_text(f"stages:\n  prepare:\n    cmd: {command}\n    outs: [out]\n")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (folder / "ofa_core/make").mkdir(parents=True)
    for name in ("__init__.py", "make/__init__.py", "make/guard.py"):
        (folder / "ofa_core" / name).write_bytes((REPO / "ofa_core" / name).read_bytes())
    return folder


def test_shares_are_of_planned_time() -> None:
    progress = Progress(SECONDS)
    assert progress.read("Running stage 'prepare':\n> python -m stages.prepare\n")
    assert progress.place == "stage 1 of 3, prepare"
    assert progress.read("Updating lock file 'dvc.lock'\n\nRunning stage 'train_supernet':\n")
    assert progress.place == "stage 2 of 3, train_supernet"
    assert not progress.read(
        "full:   0%|          | 0/60 [00:00<?, ?step/s]\rfull:  50%|#####     | 30/60 [00:01<00:01, 2step/s]"
    )
    assert progress.share == pytest.approx(0.3)
    progress.read("Running stage 'shrink@all':\n\rall:  20%|##  | 1/5 [00:00<?]\rdecoding val:  90%|##")
    assert progress.share == pytest.approx(0.6)
    progress.finish()
    assert progress.share == 1
    assert set(progress.took) == set(SECONDS)


def test_stages_that_did_not_change_are_behind() -> None:
    progress = Progress(SECONDS)
    progress.read(
        "Stage 'prepare' didn't change, skipping\nStage 'train_supernet' is cached - skipping run, checking out outputs\n"
    )
    assert progress.share == 0.5
    assert progress.took == {}


def test_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    out, stream = pipeline(tmp_path / "p", "touch out"), io.StringIO()
    with locked(out) as lock:
        progress = Progress({"prepare": 1.0})
        repro(out, progress, lock, stream=stream)
        repro(out, Progress({"prepare": 1.0}), lock, stream=stream)
    assert stream.getvalue() == "  0%  stage 1 of 1, prepare\n"
    assert progress.share == 1
    assert "Running stage 'prepare'" in (out / "make.log").read_text()


def test_a_failure_names_the_last_error_and_the_log(tmp_path: Path) -> None:
    out = pipeline(
        tmp_path / "p", "echo start && echo 'error' ':' no photo && echo 'error':' prepare.folder is gone' && exit 2"
    )
    with locked(out) as lock, pytest.raises(InputError) as error:
        repro(out, Progress({"prepare": 1.0}), lock, stream=io.StringIO())
    assert str(error.value) == f"prepare: prepare.folder is gone; the whole output is in {out / 'make.log'}"


def holder(out: Path) -> "subprocess.Popen[str]":
    """A process that runs the project's pipeline as `ofa make` does."""
    program = (
        "import sys; from pathlib import Path; from ofa_core.make.progress import Progress, locked, repro\n"
        "with locked(Path(sys.argv[1])) as lock: repro(Path(sys.argv[1]), Progress({'prepare': 1.0}), lock)"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(out)], cwd=REPO, text=True, stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_killed_run_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    """Not even if it is killed in a way that it cannot notice. The stage gets SIGTERM, to write a checkpoint."""
    (tmp_path / "stage.sh").write_text("trap 'touch caught; exit 1' TERM; while true; do date +%N > beat; sleep 0.05; done")
    out = pipeline(tmp_path / "p", f"sh {tmp_path / 'stage.sh'}")
    process, deadline = holder(out), time.monotonic() + 60
    while not (out / "beat").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    with locked(out):  # waits for the guard
        assert (out / "caught").exists()
        last = (out / "beat").read_text()
        time.sleep(0.5)
        assert (out / "beat").read_text() == last
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
    if number != signal.SIGKILL:
        assert "stopped; the same command goes on from here\n" in said


def test_only_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ofa_core.make.progress.WAIT", 0.3)
    with locked(tmp_path), pytest.raises(InputError, match="another `ofa make` works here"), locked(tmp_path):
        pass
