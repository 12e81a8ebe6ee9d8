"""A copy of the project in which tests run single stages, as DVC would, without DVC."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import REPO

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
ENVIRONMENT.pop("PYTHONPATH", None)  # the copy's own code must run


class Project:
    """The code and profiles of this repository in another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("ofa_core", "stages", "params"):
            shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))

    def start(self, *command: str, processes: int = 1, through: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Starts a Python module with its arguments; with several processes, under torchrun; by the command `through`."""
        launcher = ["-m"]
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        return subprocess.Popen(
            [*through, sys.executable, *launcher, *command], cwd=self.folder, env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *command: str, processes: int = 1, code: int = 0, through: Sequence[str] = ()) -> str:
        """Runs a Python module; returns its output. Fails if the exit code is not `code`."""
        process = self.start(*command, processes=processes, through=through)
        output, _ = process.communicate()
        assert process.returncode == code, f"{' '.join(command)} exited {process.returncode}:\n{output[-4000:]}"
        return output
