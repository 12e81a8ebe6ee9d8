"""COCO's instances JSON: layouts, ids, crowds, and what is wrong with a file."""

import json

import numpy as np
import pytest

from ofa_core.datasets import coco
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError
from tests.annotated import coco_json, photos, write
from tests.pictures import zipped


def read(path):
    with Tree(path) as tree:
        return coco.read(tree)


def one_file(root, **changes):
    """A folder with two images, one of them with two boxes, and one JSON."""
    photos(root / "pictures", "a.png", "b.png")
    write(root / "labels.json", coco_json(["a.png", "b.png"], [(1, 7, 1, 2, 10, 5), (1, 3, 0, 0, 40, 20)]) | changes)
    return root


def test_one_file_and_a_folder(tmp_path):
    found = read(one_file(tmp_path / "x"))
    assert (found.classes, found.ids) == (("cat", "dog"), (3, 7))
    first, second = found.splits.pop("train")
    assert not found.splits
    assert (first.image, first.size, first.boxes.shape, first.labels) == ("pictures/a.png", (20, 40), (0, 4), ())
    assert second.boxes.tolist() == [[2, 1, 7, 11], [0, 0, 20, 40]], "ymin, xmin, ymax, xmax"
    assert second.labels == ("dog", "cat")
    assert second.fields == ("annotations[0].category_id", "annotations[1].category_id")
    assert not second.crowd.any()


def test_a_zip_is_read_like_its_folder(tmp_path):
    root = one_file(tmp_path / "x")
    assert str(read(zipped(root, tmp_path / "x.zip", "wrapped/")).splits).replace("wrapped/", "") == str(read(root).splits)


@pytest.mark.parametrize(
    ("files", "images"),
    [
        (
            ["annotations/instances_train2017.json", "annotations/instances_val2017.json"],
            ["images/train2017", "images/val2017"],
        ),
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json"], ["train2017", "val2017"]),
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train", "valid"]),
        (["train.json", "validation.json"], ["photos/train", "photos/validation"]),
        (["my_TRAIN.json", "my_Val_2.json"], ["photos/TRAIN", "photos/Val"]),
    ],
)
def test_splits_by_name_and_images_of_equal_names(tmp_path, files, images):
    """Both splits have an image 1.png, in folders of their own."""
    for number, (file, folder) in enumerate(zip(files, images, strict=True)):
        photos(tmp_path / folder, "1.png", first=number)
        write(tmp_path / file, coco_json(["1.png"], [(0, 3, 1, 1, 2, 2)]))
    if "instances" in files[0]:
        write(tmp_path / "annotations/captions_train2017.json", coco_json(["gone.png"], []))
    found = read(tmp_path).splits
    assert {split: [one.image for one in of] for split, of in found.items()} == {
        "train": [f"{images[0]}/1.png"],
        "val": [f"{images[1]}/1.png"],
    }


def test_file_names_may_have_folders(tmp_path):
    photos(tmp_path / "data/red", "1.png")
    photos(tmp_path / "data/blue", "1.png", first=1)
    write(tmp_path / "x.json", coco_json(["red/1.png", "blue\\1.png"], []))
    assert [one.image for one in read(tmp_path).splits["train"]] == ["data/red/1.png", "data/blue/1.png"]
    write(tmp_path / "x.json", coco_json(["1.png"], []))
    with pytest.raises(InputError, match=r"x\.json: 1\.png is both data/blue/1\.png and data/red/1\.png"):
        read(tmp_path)
    write(tmp_path / "x.json", coco_json(["../../data/red/1.png"], []))
    with pytest.raises(InputError, match=r"x\.json: images\[0\]\.file_name: no image \.\./\.\./data/red/1\.png"):
        read(tmp_path)


def test_two_categories_of_one_name_are_one_class(tmp_path):
    categories = [{"id": 2, "name": "cat"}, {"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    boxes = [{"image_id": 100, "category_id": number, "bbox": [0, 0, 1, 1]} for number in (0, 1, 2)]
    found = read(one_file(tmp_path, categories=categories, annotations=boxes))
    assert (found.classes, found.ids) == (("cat", "dog"), (0, 1))
    assert found.splits["train"][0].labels == ("cat", "dog", "cat")


GOOD = {"image_id": 100, "category_id": 3, "bbox": [0, 0, 1, 1], "iscrowd": 0}
IMAGE = {"id": 100, "file_name": "a.png"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [GOOD | {"category_id": 4}]}, r"annotations\[0\]\.category_id: 4 is not the id of a category"),
        ({"annotations": [GOOD, GOOD | {"image_id": 7}]}, r"annotations\[1\]\.image_id: 7 is not the id of an image"),
        ({"annotations": [GOOD | {"image_id": [1]}]}, r"annotations\[0\]\.image_id: \[1\] is not a whole number"),
        ({"annotations": [{"image_id": 100, "category_id": 3}]}, r"annotations\[0\]\.bbox: missing"),
        ({"annotations": [GOOD | {"bbox": [1, 2, 3]}]}, r"annotations\[0\]\.bbox: \[1, 2, 3\] is not four numbers"),
        ({"annotations": [GOOD | {"bbox": [1, 2, 3, "4"]}]}, r"annotations\[0\]\.bbox: .* is not four numbers"),
        ({"annotations": [GOOD | {"bbox": [1, 2, 3, float("nan")]}]}, r"annotations\[0\]\.bbox: .* is not four numbers"),
        ({"annotations": [GOOD | {"bbox": [1, 2, 3, 10**400]}]}, r"annotations\[0\]\.bbox: .* is not four numbers"),
        ({"annotations": [GOOD | {"iscrowd": "yes"}]}, r"annotations\[0\]\.iscrowd: 'yes' is not 0 or 1"),
        ({"annotations": {"0": GOOD}}, "annotations: not a list of objects"),
        ({"annotations": [1]}, "annotations: not a list of objects"),
        ({"images": [IMAGE, IMAGE]}, "images: an id appears twice"),
        ({"images": [IMAGE, IMAGE | {"id": 1}]}, "a.png of train is already in train"),
        ({"images": [{"id": 100}]}, r"images\[0\]\.file_name: missing"),
        ({"images": [IMAGE | {"file_name": "c.png"}]}, r"images\[0\]\.file_name: no image c\.png in "),
        ({"images": [IMAGE | {"height": "20", "width": 40}]}, r"images\[0\]\.height: '20' is not a whole number"),
        ({"categories": [{"id": 3}]}, r"categories\[0\]\.name: missing"),
        ({"categories": [{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}]}, r"categories\[1\]\.id: 3 appears twice"),
    ],
)
def test_the_faulty_field_is_named(tmp_path, changes, message):
    base = {"annotations": [GOOD], "images": [IMAGE]}
    with pytest.raises(InputError, match=message) as raised:
        read(one_file(tmp_path / "x", **(base | changes)))
    assert str(raised.value).startswith(f"{tmp_path}/x/labels.json: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["", "{", '{"images": [', "[" * 100_000, "\udcff", "[]"])
def test_what_is_no_instances_file(tmp_path, content):
    photos(tmp_path, "a.png")
    (tmp_path / "instances_train.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"^[^\n]*/instances_train\.json: (not JSON \(|not an object with)[^\n]*$"):
        read(tmp_path)


def test_folders_without_usable_files(tmp_path):
    photos(tmp_path, "a.png")
    with pytest.raises(InputError, match="no JSON file with images, annotations and categories"):
        read(tmp_path)
    write(tmp_path / "other.json", [1])
    with pytest.raises(InputError, match="no JSON file with"):
        read(tmp_path)
    write(tmp_path / "val.json", coco_json(["a.png"], []))
    assert list(read(tmp_path).splits) == ["val"], "enough to evaluate on"
    write(tmp_path / "all.json", coco_json(["a.png"], []))
    with pytest.raises(InputError, match=r"all\.json: its name says no split \(train, val, valid, validation, test\)"):
        read(tmp_path)
    (tmp_path / "all.json").rename(tmp_path / "train.json")
    with pytest.raises(InputError, match=r"val\.json: a\.png of val is already in train, by .*train\.json"):
        read(tmp_path)
    write(tmp_path / "val.json", coco_json([], [], categories=[(3, "cow")]))
    with pytest.raises(InputError, match=r"val\.json: categories: id 3 is cow, but cat in another file"):
        read(tmp_path)
    write(tmp_path / "b/train.json", coco_json([], []))
    with pytest.raises(InputError, match=r"train\.json: a second file for the split train"):
        read(tmp_path)


def test_text_ids_and_missing_sizes(tmp_path):
    images = [{"id": "x", "file_name": "a.png", "height": 0, "width": 0}]
    found = read(one_file(tmp_path, images=images, annotations=[GOOD | {"image_id": "x", "iscrowd": 1}]))
    (one,) = found.splits["train"]
    assert one.size is None
    assert one.crowd.tolist() == [True]
    assert one.boxes.dtype == np.float64


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = one_file(tmp_path) / "labels.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(json.loads(path.read_text())).encode())
    assert len(read(tmp_path).splits["train"]) == 2
