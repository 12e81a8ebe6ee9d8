"""The project that a plan becomes: its files, its repository, and what another plan changes."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ofa_core.make import source
from ofa_core.make.plan import Decision
from ofa_core.make.project import (
    changes_text,
    commit,
    params_text,
    photos_digest,
    pipeline_text,
    read_state,
    refresh_index,
    write,
)
from ofa_core.make.request import Request
from ofa_core.profiles.profile import merged
from ofa_core.run import files
from ofa_core.run.errors import InputError
from tests.conftest import REPO
from tests.make.photos import some
from tests.make.test_plan import TEXT, found, plan

WORDS = {"name": "p", "photos": "/photos", "command": "ofa make /photos"}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def state(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"request": request, "speed": {}, "seconds": {}}


def put(out: Path, photos: Path, **changes: Any) -> list[str]:
    """Writes a project for some photos."""
    made = plan(found(60, 3), photos=photos, out=out, **changes)
    text = params_text(TEXT, made.decisions, ["head"])
    request = Request(photos=photos, out=out, **changes).to_json()
    return write(source.root(), out, made, text, state(request), WORDS)


def test_the_repository_has_the_form_that_is_written() -> None:
    text = (REPO / "dvc.yaml").read_text()
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    targets, detectors = (list(params[section]["targets"]) for section in ("search", "search_detector"))
    assert pipeline_text(text, targets, list(params["shrink"]["phases"]), detectors) == text


def test_plots_and_artifacts_follow_targets_and_phases() -> None:
    made = yaml.safe_load(pipeline_text((REPO / "dvc.yaml").read_text(), ["20ms"], ["kernel", "all"]))
    assert made["artifacts"]["ofa-20ms"]["path"] == "release/ofa-20ms.tflite"
    assert len(made["artifacts"]) == 1
    [losses, looks] = [next(iter(plot.values()))["y"] for plot in made["plots"]]
    assert list(losses) == ["reports/train_supernet.csv", "reports/shrink/kernel.csv", "reports/shrink/all.csv"]
    assert list(looks) == ["reports/shrink/kernel_val.csv", "reports/shrink/all_val.csv"]


def test_values_and_reasons_survive() -> None:
    decisions = [
        Decision("prepare.folder", "/a 'quoted' [path]: x #1", "odd"),
        Decision("prepare.image_size", 32, "first"),
        Decision("prepare.image_size", 48, "last"),
        Decision("shrink.validate_epochs", 1e-05, "small"),
        Decision("build_latency_table.devices.phone", {"android": {"serial": "0123", "binary": None}, "shared": True}, ""),
    ]
    text = changes_text(decisions)
    content = yaml.safe_load(text.replace("1e-05", "0.00001"))
    assert content["prepare"] == {"folder": "/a 'quoted' [path]: x #1", "image_size": 48}
    assert content["build_latency_table"]["devices"]["phone"] == {"android": {"serial": "0123", "binary": None}, "shared": True}
    assert "  image_size: 48           # last\n" in text
    whole = merged(TEXT, [text])
    assert "  image_size: 48           # last\n" in whole
    assert "# first\n" not in whole


def test_a_project_is_a_pipeline(tmp_path: Path) -> None:
    out, photos = tmp_path / "new/project", some(tmp_path / "photos", 20)
    assert put(out, photos) == []
    assert git(out, "status", "--porcelain") == ""
    assert git(out, "log", "--format=%s").splitlines() == ["Plan: ofa make /photos"]
    tracked = set(git(out, "ls-files").splitlines())
    assert {"dvc.yaml", "params.yaml", "make.json", "README.md", "data/images.index", ".dvc/config"} <= tracked
    assert "photos/dog: 20 files" in (out / "data/images.index").read_text()
    assert not [name for name in tracked if "__pycache__" in name]
    declared = yaml.safe_load((out / "dvc.yaml").read_text())["stages"].values()
    code = {dep for stage in declared for dep in stage.get("do", stage)["deps"] if dep.startswith(("ofa_core", "stages"))}
    assert code
    for dep in code:
        assert (out / dep).exists(), dep
    header = (out / "params.yaml").read_text().splitlines()[0]
    assert (out / header.partition("$schema=")[2]).is_file()


def test_another_plan_keeps_edits_and_tells_them(tmp_path: Path) -> None:
    out, photos = tmp_path / "project", some(tmp_path / "photos", 20)
    put(out, photos)
    params = out / "params.yaml"
    params.write_text(params.read_text().replace("candidates: 20 ", "candidates: 30 "))
    (out / "ofa_core/search/note.txt").write_text("mine")
    before = (out / "stages/prepare.py").stat().st_mtime_ns
    lines = put(out, photos, ms=(20.0,))
    assert "search.candidates: 30 -> 20" in lines
    assert "search.targets.fast.fraction: 0.25 -> gone" in lines
    assert not [line for line in lines if line.startswith(("train", "shrink", "prepare"))]
    assert (out / "stages/prepare.py").stat().st_mtime_ns == before, "equal files stay"
    assert not (out / "ofa_core/search/note.txt").exists()
    assert len(git(out, "log", "--format=%s").splitlines()) == 3
    assert "candidates: 30 " in git(out, "show", "HEAD~1:params.yaml")
    assert git(out, "show", "HEAD~1:ofa_core/search/note.txt") == "mine"
    commit(out, "nothing")
    assert len(git(out, "log", "--format=%s").splitlines()) == 3


def test_changed_photos_are_noticed(tmp_path: Path) -> None:
    out, photos = tmp_path / "project", some(tmp_path / "photos", 20)
    put(out, photos)
    refresh_index(out)
    before = photos_digest(out)
    assert before == files.read_json(out / "make.json")["photos"]
    next((photos / "dog").iterdir()).unlink()
    refresh_index(out)
    assert photos_digest(out) != before


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    assert read_state(tmp_path / "new") is None
    (tmp_path / "empty").mkdir()
    assert read_state(tmp_path / "empty") is None
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("x")
    for name in ("file", "full"):
        with pytest.raises(InputError, match=f"--out: {tmp_path / name}: holds other files"):
            read_state(tmp_path / name)
    files.write_json(tmp_path / "full/make.json", ["other"])
    with pytest.raises(InputError, match="not written by `ofa make`"):
        read_state(tmp_path / "full")
