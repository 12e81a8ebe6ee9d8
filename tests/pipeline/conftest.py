"""The pipeline in a temporary clone with params/ci.yaml: run once, for all tests that need its outputs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofa_core.datasets import fashion_mnist
from ofa_core.run.errors import InputError
from tests.conftest import REPO

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org",
}  # fmt: skip
ENVIRONMENT.pop("PYTHONPATH", None)  # the clone's own code must run


class Clone:
    """A copy of the repository's files in a new git and DVC repository."""

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
        self.run("git", "init", "-q")
        self.run("python", "-m", "ofa_core.commands.main", "profile", "ci")
        self.commit()

    def run(self, *command: str, code: int = 0) -> str:
        """A command's output. Fails if the exit code is not `code`."""
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
        """The stages that `dvc repro` would run now, as far as it can tell from their own dependencies."""
        return re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", "--dry"))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces a text in a file, which must have it."""
        text = (self.folder / name).read_text()
        assert old in text, f"{name} lacks {old}"
        (self.folder / name).write_text(text.replace(old, new, 1))


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The pipeline after a first `dvc repro`, everything committed."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    try:
        fashion_mnist.find(clone.folder / "data/raw")
    except InputError as error:
        pytest.skip(f"Fashion-MNIST is not to be had: {error}")
    clone.run("ofa", "check")
    clone.run("dvc", "repro")
    clone.commit()
    return clone


@pytest.fixture
def edited(clone: Clone) -> Iterator[Clone]:
    """The clone, restored after the test."""
    yield clone
    clone.run("git", "checkout", "-q", "--", ".")
