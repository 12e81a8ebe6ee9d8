"""The index of the images: it changes when they do and only then, and DVC prepares them again because of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ofa_core.datasets.index import write_index
from ofa_core.datasets.params import PrepareParams
from ofa_core.run import paths
from tests.conftest import REPO
from tests.pictures import folder, params, picture, save, zipped

LAYOUT = {"train/cat": 6, "train/dog": 6, "val/cat": 3, "val/dog": 3, "test/cat": 3, "test/dog": 3}


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, indexed, below the current one."""
    monkeypatch.chdir(tmp_path)
    root = folder(Path("photos"), LAYOUT)
    assert write_index(params(root))
    return root


def test_lines(images: Path) -> None:
    lines = paths.IMAGE_INDEX.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert [line.partition(":")[0] for line in lines[1:]] == sorted(f"photos/{name}" for name in LAYOUT)
    size = sum(path.stat().st_size for path in (images / "train/cat").iterdir())
    [line] = [line for line in lines if line.startswith("photos/train/cat: ")]
    assert line.startswith(f"photos/train/cat: 6 files, {size} bytes, ")


def test_nothing_changed(images: Path) -> None:
    before = paths.IMAGE_INDEX.stat().st_mtime_ns
    (images / "train/cat/.hidden").touch()
    assert not write_index(params(images.absolute()))  # nor does it say where the folder lies
    assert paths.IMAGE_INDEX.stat().st_mtime_ns == before


@pytest.mark.parametrize("edit", ["add", "remove", "rename", "replace", "touch", "add a class"])
def test_changes(images: Path, edit: str) -> None:
    path = images / "train/cat/0.png"
    if edit == "add":
        save(picture(99), images / "train/cat/new.png")
    elif edit == "remove":
        path.unlink()
    elif edit == "rename":
        path.rename(images / "train/cat/000.png")
    elif edit == "replace":
        status = path.stat()
        save(picture(99, 40, 40), path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif edit == "touch":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        save(picture(99), images / "train/bird/0.png")
    before = paths.IMAGE_INDEX.read_text().splitlines()
    assert write_index(params(images))
    after = paths.IMAGE_INDEX.read_text().splitlines()
    assert len(set(after) - set(before)) == 1  # the line of one folder
    assert not write_index(params(images))


def test_archives_and_class_names(images: Path) -> None:
    archive = zipped(images, Path("photos.zip"))
    names = Path("names.txt")
    names.write_text("cat Cat\ndog Dog\n")
    given = params(archive, class_names=str(names))
    assert write_index(given)
    assert [line.partition(":")[0] for line in paths.IMAGE_INDEX.read_text().splitlines()[1:]] == ["class_names", "photos.zip"]
    assert not write_index(given)
    names.write_text("cat Cat\ndog Hound\n")
    assert write_index(given)
    os.utime(archive, ns=(0, 0))
    assert write_index(given)
    assert "1970-01-01T00:00:00.000000000Z" in paths.IMAGE_INDEX.read_text()


def test_links_are_followed_and_never_in_a_circle(images: Path, tmp_path: Path) -> None:
    folder(tmp_path / "more", {"cat": 2})
    (images / "train/wolf").symlink_to(tmp_path / "more/cat")
    (images / "train/loop").symlink_to(tmp_path / "photos")
    (images / "train/cat/lost.png").symlink_to(tmp_path / "nowhere")
    assert write_index(params(images))
    lines = [line.partition(", ")[0] for line in paths.IMAGE_INDEX.read_text().splitlines()[1:]]
    assert "photos/train/wolf: 2 files" in lines
    assert len(lines) == len(LAYOUT) + 1
    save(picture(99), tmp_path / "more/cat/new.png")
    assert write_index(params(images))


def test_without_the_images_an_index_stays(images: Path) -> None:
    before = paths.IMAGE_INDEX.read_text()
    shutil.rmtree(images)
    assert not write_index(params(images))
    assert paths.IMAGE_INDEX.read_text() == before
    paths.IMAGE_INDEX.unlink()
    assert write_index(params(images))
    assert paths.IMAGE_INDEX.read_text().splitlines()[1:] == ["photos: not there"]


def test_published_data_have_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is committed, so it may not change from machine to machine."""
    monkeypatch.chdir(tmp_path)
    given = PrepareParams(
        dataset="fashion_mnist", folder=None, image_size=None, class_names=None, train_images=0, val_images=5000, test_images=0,
        max_broken=0, leaks="stop", shards=None,
    )  # fmt: skip
    assert write_index(given)
    assert paths.IMAGE_INDEX.read_text() == (REPO / paths.IMAGE_INDEX).read_text()
    assert not write_index(given)


def test_dvc_prepares_changed_images_again(tmp_path: Path) -> None:
    """In a pipeline of this one stage: quiet while nothing changes, `ofa check` is what notices."""
    for name in ("ofa_core", "stages", "params", ".dvcignore"):
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        copy(REPO / name, tmp_path / name)
    stage = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]["prepare"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": stage}}))
    folder(tmp_path / "photos", LAYOUT)
    (tmp_path / "mine.yaml").write_text(
        "prepare: {dataset: folder, folder: photos, image_size: 20, val_images: 0}\ntraining: {batch_size: 4}\n"
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ofa(*arguments: str) -> str:
        return run("python", "-m", "ofa_core.commands.main", *arguments)

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    assert "data/images.index: changed" in ofa("profile", "mine.yaml")
    assert "Running stage 'prepare'" in run("dvc", "repro")
    assert ofa("check") == "params.yaml: OK\n"
    assert "up to date" in run("dvc", "repro")

    save(picture(99), tmp_path / "photos/train/cat/new.png")
    assert "up to date" in run("dvc", "repro")
    assert "data/images.index: changed" in ofa("check")
    assert ofa("check") == "params.yaml: OK\n"
    assert "Running stage 'prepare'" in run("dvc", "repro")

    (tmp_path / "photos/train/cat/new.png").unlink()
    run("dvc", "repro", "--force")  # the stage brings the index up to date itself, and DVC records it
    assert ofa("check") == "params.yaml: OK\n"
    assert "up to date" in run("dvc", "repro")
