"""Training stages are started by the launcher in the parameters."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.pipeline.conftest import ENVIRONMENT


@pytest.mark.parametrize(("launcher", "processes"), [("python", 1), ("torchrun --standalone --nproc-per-node=2", 2)])
def test_launchers(tmp_path: Path, launcher: str, processes: int) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "stages/demo.py").write_text("import sys\nsys.stdout.write(f'{sys.argv[1:]}\\n')\n")
    (tmp_path / "params.yaml").write_text(f"machine: {{launcher: {launcher}, tensorboard: false, checkpoint_seconds: 1}}\n")
    command = [sys.executable, "-m", "ofa_core.run.launch", "demo", "--phase", "first one"]
    environment = ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}:{REPO}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['--phase', 'first one']"] * processes


def test_no_launcher(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("machine: {tensorboard: false, checkpoint_seconds: 1}\n")
    command = [sys.executable, "-m", "ofa_core.run.launch", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: params.yaml: machine.launcher: missing\n")
