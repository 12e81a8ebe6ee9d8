"""Errors in a user's images and in the section `prepare`: each gives one line that names it, or images are left out."""

import numpy as np
import pytest

from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import about
from ofa_core.images.packed import SPLITS
from ofa_core.run.params import parse
from tests.pictures import ALL_IMAGES, SPLIT, content, folder, params, picture, run, zipped


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ({"cat": 5, "dog": 0}, {}, r"prepare.folder: {root}/dog: a class without images .*"),
        (
            {"train/cat": 5, "train/dog": 5, "test/cat": 0, "test/dog": 2},
            {},
            "prepare.folder: {root}/test/cat: a class without images .*",
        ),
        ({"cat": 5, "dog": 2}, {}, "prepare.folder: {root}/dog: 2 images; a class needs 3"),
        ({"cat": 1, "dog": 1}, {}, "prepare.folder: {root}/cat: 1 images; a class needs 3"),
        ({"cat": 5}, {}, "prepare.folder: {root}: only one class, cat"),
        ({}, {}, "prepare.folder: {root}: no images in class folders .*"),
        ({"train": 5}, {}, "prepare.folder: {root}/train: no images in class folders .*"),
        (SPLIT | {"valid/cat": 1}, {}, "prepare.folder: {root}/valid: a second folder for the split val"),
        (SPLIT | {"test/cow": 1}, {}, "prepare.folder: {root}/test/cow: train has no class cow"),
        ({"val/cat": 3, "test/cat": 3}, {}, "prepare.folder: {root}: has test, val but no train"),
        (
            {"cat": 5, "dog": 5},
            {"val_images": 2},
            "prepare.test_images: 0 means all, but {root} has no test; give a number",
        ),
        (
            {"cat": 5, "dog": 5},
            {"test_images": 2},
            "prepare.val_images: 0 means all, but {root} has no val; give a number",
        ),
        ({"cat": 5, "dog": 5}, {"val_images": 2, "test_images": 11}, "prepare.test_images: 11 is not between 0 and 10, .*"),
        (
            {"cat": 5, "dog": 5},
            {"val_images": 5, "test_images": 6},
            "prepare.val_images: 5 is not between 0 and 4, the number of images available without test_images: 6",
        ),
        (
            {"cat": 5, "dog": 5},
            {"val_images": 5, "test_images": 5},
            "prepare.folder: {root}: no train image is left for class cat; .*",
        ),
        (SPLIT, {"train_images": 10}, "prepare.train_images: 10 is not between 0 and 9, .*"),
        (
            SPLIT,
            {"train_images": 1},
            "prepare.folder: {root}: no train image is left for class cat; hold out fewer, or take more",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, layout, changes, message):
    root = tmp_path / "x"
    root.mkdir()
    folder(root, layout)
    with pytest.raises(ValueError, match=f"^{message.format(root=root)}$"):
        run(root, tmp_path, **changes)
    assert not (tmp_path / "out.npz").exists()


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match=rf"^prepare\.folder: {tmp_path}/none: no such folder or \.zip archive$"):
        run(tmp_path / "none", tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK text")
    with pytest.raises(ValueError, match=rf"^prepare\.folder: {tmp_path}/x\.zip: neither a folder nor a whole \.zip archive$"):
        run(tmp_path / "x.zip", tmp_path)


def damage(root):
    """A corrupt, a truncated and an empty image among the train images."""
    whole = content(picture(0, 60, 50), "JPEG")
    (root / "train/cat/corrupt.jpg").write_bytes(b"no image at all")
    (root / "train/dog/half.JPG").write_bytes(whole[:-20])
    (root / "val/dog/empty.png").write_bytes(b"")


def test_a_link_to_nowhere_is_a_broken_image(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    (root / "train/cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert run(root, tmp_path, max_broken=1)[0]["broken_images"] == 1
    with pytest.raises(ValueError, match=r"1 broken images, .*; the last is train/cat/gone\.png: No such file or directory$"):
        run(root, tmp_path)


@pytest.mark.parametrize("archive", [False, True])
def test_broken_images_are_named_and_left_out(tmp_path, capsys, archive):
    root = folder(tmp_path / "x", SPLIT)
    damage(root)
    path = zipped(root, tmp_path / "x.zip") if archive else root
    metrics, splits = run(path, tmp_path, max_broken=3)
    assert metrics["broken_images"] == 3
    assert [metrics[f"{name}_images"] for name in SPLITS] == [9, 3, 3]
    assert np.bincount(splits["train"].labels).tolist() == [4, 5]
    err = capsys.readouterr().err
    for name in (
        "train/cat/corrupt.jpg: not a JPEG",
        "train/dog/half.JPG: image file is truncated",
        "val/dog/empty.png: an empty",
    ):
        assert f"\n{path}/{name}" in "\n" + err.replace("\r", "\n")


def test_more_broken_images_than_allowed(tmp_path, capsys):
    root = folder(tmp_path / "x", SPLIT)
    for i in range(30):
        (root / f"train/cat/broken{i:02}.png").write_bytes(b"x")
    with pytest.raises(
        ValueError,
        match=rf"^prepare\.folder: {root}: 26 broken images, more than prepare\.max_broken: 25; the last is train/cat/",
    ):
        run(root, tmp_path, max_broken=25)
    assert capsys.readouterr().err.count(": not a JPEG, PNG, WebP or BMP image") == 20
    assert not (tmp_path / "out.npz").exists()


def test_a_class_or_split_of_broken_images(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    for path in (root / "train/dog").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=f"^prepare.folder: {root}: none of the train images can be read for class dog$"):
        run(root, tmp_path, max_broken=100)
    root = folder(tmp_path / "y", SPLIT)
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match=f"^prepare.folder: {root}: none of the val images can be read$"):
        run(root, tmp_path, max_broken=100)


def test_damaged_archive_members_are_broken_images(tmp_path):
    root = folder(tmp_path / "x", SPLIT)
    path = zipped(root, tmp_path / "x.zip")
    original = (root / "train/cat/1.png").read_bytes()
    whole = path.read_bytes()
    assert whole.count(original) == 1
    path.write_bytes(whole.replace(original, original[:-1] + b"?"))
    metrics, _ = run(path, tmp_path, max_broken=1)
    assert metrics["broken_images"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": None}, "prepare.folder: null: dataset folder needs one"),
        ({"image_size": None}, "prepare.image_size: null: dataset folder needs one"),
        ({"dataset": "idx", "folder": None}, "prepare.folder: null: dataset idx needs one"),
        ({"dataset": "fashion_mnist"}, "prepare.folder: x: must be null for dataset fashion_mnist"),
        ({"dataset": "cifar"}, "prepare.image_size: 32: must be null; dataset cifar has a fixed size"),
        ({"dataset": "imagenet", "image_size": None}, "prepare.image_size: null: dataset imagenet needs one"),
        ({"dataset": "imagenet"}, "prepare.val_images: 0: must be at least 1; dataset imagenet .*"),
        (
            {"dataset": "cifar", "image_size": None, "class_names": "names.txt"},
            "prepare.class_names: names.txt: must be null; dataset cifar names its classes",
        ),
        (
            {"dataset": "fashion_mnist", "folder": None, "image_size": None},
            "prepare.val_images: 0: must be at least 1; dataset fashion_mnist .*",
        ),
        ({"image_size": 4}, "prepare.image_size: 4: .*"),
        ({"max_broken": -1}, "prepare.max_broken: -1: .*"),
        ({"max_broken": None}, "prepare.max_broken: None: .*"),
    ],
)
def test_params_are_checked_against_each_other(changes, message):
    good = {
        "dataset": "folder",
        "folder": "x",
        "image_size": 32,
        "class_names": None,
        "shards": None,
        "max_broken": 0,
        "leaks": "stop",
    } | ALL_IMAGES
    parse(PrepareParams, good, "params.yaml: prepare")
    with pytest.raises(ValueError, match=rf"^params\.yaml: {message}$"):
        parse(PrepareParams, good | changes, "params.yaml: prepare")


def test_what_the_manifest_says_of_the_data():
    assert about(params("data/raw/birds.v2")) == {"dataset": "birds.v2"}
    assert about(params("data/raw/birds.zip")) == {"dataset": "birds"}
    own = {"dataset": "fashion_mnist", "folder": None, "image_size": None, "val_images": 1}
    assert about(params("x", **own)) == {
        "dataset": "fashion_mnist",
        "dataset_license": "MIT License, Copyright (c) 2017 Zalando SE",
    }
