"""A user's images in class folders: layouts, what is left out, and real data sets."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa_core.datasets.folders import ALL, find
from ofa_core.datasets.prepare import prepare
from ofa_core.images.decode import centre
from ofa_core.images.packed import SPLITS
from ofa_core.images.tree import Tree
from ofa_core.run import files
from tests.conftest import shared_data
from tests.pictures import SIZE, SPLIT, folder, params, picture, run, save, zipped


def test_train_val_and_test_of_its_own(tmp_path):
    metrics, splits = run(folder(tmp_path / "birds", SPLIT), tmp_path)
    assert metrics == {
        "height": SIZE, "width": SIZE, "channels": 3, "classes": 2, "train_images": 9, "val_images": 3, "test_images": 3,
        "smallest_class_images": 4, "largest_class_images": 5,
        "broken_images": 0, "ignored_files": 0, "repeated_images": 0, "leaked_images": 0, "dropped_images": 0,
        "duplicate_pairs": 0, "conflicting_pairs": 0, "tiny_images": 0, "blank_images": 0,
    }  # fmt: skip
    for name, split in splits.items():
        assert split.images.shape == (metrics[f"{name}_images"], SIZE, SIZE, 3)
        assert split.classes == ("cat", "dog")
    assert np.bincount(splits["train"].labels).tolist() == [4, 5]
    assert splits["test"].labels.tolist() == [0, 1, 1], "test keeps the order of file names"
    assert (np.diff(splits["train"].labels) < 0).any(), "train is in random order"
    first = centre(Image.open(tmp_path / "birds/test/cat/0.png"), SIZE, (SIZE, SIZE))
    assert (splits["test"].images[0] == np.asarray(first)).all()


def test_one_folder_is_split_by_class(tmp_path):
    root = folder(tmp_path / "birds", {"cat": 20, "dog": 10})
    metrics, splits = run(root, tmp_path, val_images=6, test_images=3)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [21, 6, 3]
    assert [np.bincount(splits[name].labels).tolist() for name in SPLITS] == [[14, 7], [4, 2], [2, 1]]
    seen = [image.tobytes() for split in splits.values() for image in split.images]
    assert len(set(seen)) == 30, "no image is in two splits"


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_missing_test_is_held_out_of_train(tmp_path, name):
    root = folder(tmp_path / "x", {"TRAIN/cat": 6, "TRAIN/dog": 6, f"{name}/cat": 4, f"{name}/dog": 4})
    metrics, splits = run(root, tmp_path, test_images=4, val_images=2, train_images=6)
    assert [metrics[f"{split}_images"] for split in SPLITS] == [6, 2, 4]
    own = {np.asarray(centre(Image.open(path), SIZE, (SIZE, SIZE))).tobytes() for path in (root / name).rglob("*.png")}
    assert {image.tobytes() for image in splits["val"].images} <= own
    assert not {image.tobytes() for image in splits["test"].images} & own


def test_a_zip_gives_the_same_bytes_and_so_does_a_second_run(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    (tmp_path / "y").mkdir()
    paths = [root, root, zipped(root, tmp_path / "x.zip"), zipped(root, tmp_path / "y.zip", "wrapped/again/")]
    digests = []
    for path in paths:
        prepare(params(path), 0, tmp_path, tmp_path / "out.npz")
        digests.append(files.md5(tmp_path / "out.npz"))
    assert len(set(digests)) == 1
    prepare(params(root), 1, tmp_path, tmp_path / "out.npz")
    assert files.md5(tmp_path / "out.npz") != digests[0], "another seed gives another order"


def test_other_files_are_ignored_and_counted(tmp_path, capsys):
    root = folder(
        tmp_path / "x", {"train/cat/persian": 2, "train/cat": 2, "train/dog": 3, "test/cat": 1, "val/cat": 1}, ".JPEG"
    )
    for name in ("notes.txt", "train/cat/a.txt", "train/dog/.hidden.png", "train/dog/Thumbs.db", ".git/x/y.png", "train/z.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save(picture(99), root / name, format="PNG")
    metrics, _ = run(root, tmp_path)
    assert metrics["train_images"] == 7, "images may be at any depth below their class"
    assert metrics["ignored_files"] == 6
    assert capsys.readouterr().err.startswith(
        f"{root}: ignored files: 2 .txt, 1 .db, 2 hidden, 1 images outside of class folders\n"
    )


def test_links_are_followed_but_not_for_ever(tmp_path):
    root = folder(tmp_path / "x", {"cat": 3})
    folder(tmp_path / "elsewhere", {"dog": 3})
    (root / "dog").symlink_to(tmp_path / "elsewhere/dog")
    (root / "cat/loop").symlink_to(root)
    with Tree(root) as tree:
        assert {name: len(names) for name, names in find(tree)[ALL].items()} == {"cat": 3, "dog": 3}


def test_names_in_archives_reach_nothing_outside(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("../up.png", "/etc/root.png", "cat/../../up.png", "__MACOSX/cat/1.png", "cat/1.png"):
            archive.writestr(name, b"x")
    with Tree(tmp_path / "x.zip") as tree:
        assert tree.files == ["cat/1.png"]
        assert tree.folders == ["cat"]
        assert tree.hidden_files == 4


def test_images_in_two_splits_are_told(tmp_path, capsys):
    root = folder(tmp_path / "x", SPLIT)
    (root / "test/cat/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    metrics, _ = run(root, tmp_path, leaks="report")
    assert metrics["repeated_images"] == metrics["leaked_images"] == 1
    assert "1 images of val and test are also in train, pixel for pixel" in capsys.readouterr().err


def test_real_cifar_10_archive(tmp_path):
    path = shared_data("images/cifar10_jpg.zip")
    metrics, splits = run(path, tmp_path, image_size=32, train_images=500, val_images=200, test_images=300)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [500, 200, 300]
    assert metrics["classes"] == 10
    assert metrics["ignored_files"] == metrics["broken_images"] == 0
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert splits["test"].classes == names
    for name, split in splits.items():
        assert np.bincount(split.labels).tolist() == [metrics[f"{name}_images"] // 10] * 10
    # A 32-pixel image is stored unchanged, with the class of its folder.
    with zipfile.ZipFile(path) as archive:
        originals = {}
        for name in archive.namelist():
            if name.startswith("test/ship/") and name.endswith(".jpg"):
                originals[np.asarray(Image.open(io.BytesIO(archive.read(name)))).tobytes()] = name
    ships = splits["test"].images[splits["test"].labels == names.index("ship")]
    assert len(ships) == 30
    assert all(image.tobytes() in originals for image in ships)


def test_a_few_real_classes_unpacked(tmp_path):
    root = tmp_path / "pets"
    with zipfile.ZipFile(shared_data("images/cifar10_jpg.zip")) as archive:
        for label in ("cat", "dog"):
            names = [name for name in archive.namelist() if name.startswith(f"test/{label}/") and name.endswith(".jpg")][:60]
            for name in names:
                (root / label).mkdir(parents=True, exist_ok=True)
                (root / label / Path(name).name).write_bytes(archive.read(name))
    metrics, splits = run(root, tmp_path, image_size=24, val_images=20, test_images=20)
    assert [metrics[f"{name}_images"] for name in SPLITS] == [80, 20, 20]
    assert all(np.bincount(split.labels).tolist() == [len(split.labels) // 2] * 2 for split in splits.values())
    assert splits["train"].images.std() > 30
