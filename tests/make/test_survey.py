"""What `ofa make` finds in real photos, and the folders that it refuses."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ofa_core.make.survey import survey
from ofa_core.run.errors import InputError
from tests.conftest import shared_data
from tests.make.photos import some
from tests.pictures import folder, picture, save


def test_groceries() -> None:
    found = survey(shared_data("images/grocery_photos.zip"), sample=162)
    assert (found.images("train"), found.images("val"), found.images("test")) == (2936, 0, 2485)
    assert len(found.classes) == 81
    assert found.extremes[1] == "Satsumas"
    assert found.counts["train"]["Satsumas"] == 75
    assert found.shorter_sides == (224, 224, 224)
    assert (found.sampled, found.broken, found.grey) == (162, 0, 0.0)
    assert found.decode_seconds > 0


def test_small_pictures_in_a_zip() -> None:
    found = survey(shared_data("images/cifar10_jpg.zip"), sample=50)
    assert (found.total, found.images("test"), found.imbalance) == (60_000, 10_000, 1.0)
    assert (found.sampled, found.shorter_sides) == (50, (32, 32, 32))


def test_broken_grey_and_other_files(tmp_path: Path) -> None:
    root = some(tmp_path / "photos", 12, ("dog", "frog"))
    (root / "dog/notes.txt").write_text("a walk")
    (root / "dog/cut.jpg").write_bytes(next((root / "dog").glob("*.jpg")).read_bytes()[:400])
    for path in (root / "frog").iterdir():
        Image.open(path).convert("L").save(path)
    found = survey(root)
    assert (found.total, found.sampled, found.broken, found.ignored) == (25, 25, 1, 1)
    assert "dog/cut.jpg" in str(found.example)
    assert found.grey == pytest.approx(0.5)


def test_each_class_is_looked_at(tmp_path: Path) -> None:
    found = survey(folder(tmp_path / "x", {"a": 30, "b": 3, "c": 9}), sample=9)
    assert found.sampled == 9
    assert found.extremes == ("b", "a")
    assert found.imbalance == 10


def flat(root: Path) -> None:
    for i in range(4):
        save(picture(i), root / f"{i}.png")


def texts(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "readme.txt").write_text("no photo")


def broken(root: Path) -> None:
    folder(root, {"a": 20, "b": 20})
    for path in list(root.rglob("*.png"))[:30]:
        path.write_bytes(b"no photo")


MISTAKES: list[tuple[Callable[[Path], object], str]] = [
    (flat, "no class folders; put the photos of each class into a folder of its own"),
    (lambda root: folder(root, {"a": 2, "b": 2}), "class a has only 2 images to train on; at least 3 are needed"),
    (lambda root: folder(root, {"a": 4, "b": 4}), "only 8 images to train on; at least 20 are needed"),
    (lambda root: folder(root, {"a": 30}), "only one class, a; at least two are needed"),
    (texts, "no images (.jpg, .jpeg, .png, .webp, .bmp) among 2 files"),
    (lambda root: None, "no such folder or .zip archive"),
    (lambda root: root.mkdir(), "no images (.jpg, .jpeg, .png, .webp, .bmp) among 0 files"),
    (lambda root: folder(root, {"val/a": 9, "val/b": 9}), "has val but no train"),
    (lambda root: folder(root, {"train/a": 20, "train/b": 20, "test/c": 3}), "test has a class that train lacks: c"),
    (broken, "30 of 40 images cannot be read, such as "),
    (lambda root: root.write_text("no archive"), "neither a folder nor a whole .zip archive"),
]


@pytest.mark.parametrize(("make", "words"), MISTAKES, ids=[words[:30] for _, words in MISTAKES])
def test_mistakes(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "photos")
    with pytest.raises(InputError) as error:
        survey(tmp_path / "photos")
    assert str(error.value).startswith(f"{tmp_path / 'photos'}: {words}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("closed", ["", "b"])
def test_a_folder_that_may_not_be_read(closed: str) -> None:
    """As another user where the tests run as root, who may read everything."""
    root = Path(tempfile.gettempdir()) / f"ofa-closed-{os.getpid()}"  # pytest's folders are closed to other users
    folder(root, {"a": 15, "b": 15})
    (root / closed).chmod(0o000)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(InputError, match=f"{root / closed}: cannot be read: Permission denied"):
            survey(root)
    finally:
        os.seteuid(user)
        (root / closed).chmod(0o700)
        shutil.rmtree(root)
