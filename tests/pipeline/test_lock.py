"""The check of dvc.lock in a clone without data distinguishes outdated stages from missing files."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.lock import apart, outdated
from tests.pipeline.conftest import ENVIRONMENT, Clone

OUT_OF_DATE = "dvc.lock is out of date: run 'make repro' and commit dvc.lock, reports/ and release/"


def check(folder: Path) -> tuple[int, str]:
    """(exit code, output) of the check in a clone."""
    done = subprocess.run(
        ["python", "-m", "tests.lock"], cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A pipeline of two stages that copy a file, with this repository's check. It was run, then its data deleted."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  one: {cmd: cp a build/b, deps: [a], outs: [build/b]}\n"
        "  two: {cmd: cp build/b c, deps: [build/b], params: [seed], outs: [c: {cache: false}]}\n"
    )
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    (tmp_path / "a").write_text("a")
    (tmp_path / ".gitignore").write_text("/build/\n")
    (tmp_path / "tests").mkdir()
    shutil.copy(REPO / "tests/lock.py", tmp_path / "tests")
    (tmp_path / "build").mkdir()
    for command in ("git init -q", "dvc init -q", "dvc repro -q", "git add -A"):
        subprocess.run(command.split(), cwd=tmp_path, env=ENVIRONMENT, check=True)
    shutil.rmtree(tmp_path / "build")
    shutil.rmtree(tmp_path / ".dvc/cache")
    return tmp_path


def test_missing_data_is_no_change(small: Path) -> None:
    assert check(small) == (0, "")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a", "other", "one: a modified"),
        ("a", None, "one: a deleted"),
        ("c", None, "two: c deleted"),
        ("params.yaml", "seed: 1\n", "two: params.yaml: seed modified"),
    ],
)
def test_changes_are_named_with_their_stage(small: Path, name: str, content: str | None, line: str) -> None:
    if content is None:
        (small / name).unlink()
    else:
        (small / name).write_text(content)
    assert check(small) == (1, f"{line}\n{OUT_OF_DATE}\n")


def test_commands_and_stages_that_never_ran(small: Path) -> None:
    text = (small / "dvc.yaml").read_text()
    (small / "dvc.yaml").write_text(text.replace("cp a", "cp -p a") + "  three: {cmd: cp c d, deps: [c], outs: [d]}\n")
    code, output = check(small)
    assert code == 1
    assert "one: changed command\n" in output
    assert "three: " in output


def test_a_pipeline_that_dvc_cannot_read(small: Path) -> None:
    (small / "dvc.yaml").write_text("stages: [")
    code, output = check(small)
    assert code == 1
    assert "dvc.yaml' is invalid" in output
    assert OUT_OF_DATE not in output


def test_a_stage_that_ran_on_older_bytes() -> None:
    lock = {"one": {"deps": [], "outs": [{"path": "b", "md5": "1"}]}, "two": {"deps": [{"path": "b", "md5": "1"}]}}
    assert apart({"stages": lock}) == {}
    lock["one"]["outs"][0]["md5"] = "2"
    assert apart({"stages": lock}) == {"two": ["b made anew"]}


def test_only_ignored_files_may_be_missing() -> None:
    status = {
        "one": [{"changed deps": {"a.py": "deleted", "build/b": "deleted"}}, {"changed outs": {"build/c": "not in cache"}}]
    }
    assert outdated(status, {"build/b", "build/c"}) == {"one": ["a.py deleted"]}


def test_a_clone_of_the_pipeline(clone: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    clone.run("git", "clone", "-q", str(clone.folder), str(folder))
    assert not (folder / "build").exists()
    assert check(folder) == (0, "")
    with (folder / "ofa_core/search/evolution.py").open("a") as file:
        file.write("# edited\n")
    assert check(folder) == (1, f"search: ofa_core/search modified\n{OUT_OF_DATE}\n")
