"""A whole prepare_detection: real data sets, splits, classes, files and parameters."""

import zipfile

import numpy as np
import pytest
from pycocotools.coco import COCO

from ofa_core.datasets.detection import format_of
from ofa_core.datasets.index import write_detection_index
from ofa_core.images.boxes import BOX_SPLITS
from ofa_core.images.tree import Tree
from ofa_core.run import files
from ofa_core.run.errors import InputError
from tests.annotated import coco_json, params, photos, run, voc_xml, write
from tests.conftest import shared_data

FILES = ["dataset.json", "detection.npz", "test.json", "train.json", "unlabelled.json", "val.json"]


def test_raccoon_photos_are_split_by_seed(tmp_path):
    path = shared_data("images/raccoon.zip")
    report, splits = run("voc", path, tmp_path, val_images=40, test_images=40, unlabelled_images=20, image_size=64)
    assert report["images"] == {"train": 100, "unlabelled": 20, "val": 40, "test": 40}
    assert report["boxes"]["unlabelled"] == 0
    assert 180 < sum(report["boxes"].values()) < 217, "217 boxes, without those of 20 images"
    assert report["dropped_boxes"] == {"no_area": 0, "outside": 0, "other_class": 0}
    assert {name for split in splits.values() for name in split.names} == {f"images/raccoon-{i}.jpg" for i in range(1, 201)}
    assert list(splits["test"].names) == sorted(splits["test"].names)
    _, again = run("voc", path, tmp_path, seed=1, val_images=40, test_images=40, train_images=9)
    assert len(again["train"].images) == 9
    assert set(again["test"].names) != set(splits["test"].names)


def test_blood_cells_keep_their_image_sets(tmp_path, capsys):
    report, splits = run("voc", shared_data("images/bccd.zip"), tmp_path, image_size=48)
    assert report["images"] == {"train": 205, "unlabelled": 0, "val": 87, "test": 72}
    assert report["dropped_boxes"] == {"no_area": 2, "outside": 0, "other_class": 0}
    assert sum(report["boxes"].values()) == 4888 - 2
    assert "bccd.zip: boxes dropped or clipped: 2 no area\n" in capsys.readouterr().err
    assert splits["train"].classes == ("Platelets", "RBC", "WBC")
    assert report["boxes_by_class"]["test"] == {"Platelets": 69, "RBC": 805, "WBC": 71}
    assert (splits["val"].sizes == [480, 640]).all()


def test_tiny_coco_by_category_id(tmp_path):
    report, splits = run("coco", shared_data("images/tiny_coco.zip"), tmp_path, numbering="category_id", test_images=6)
    assert report["images"] == {"train": 26, "unlabelled": 0, "val": 6, "test": 6}
    assert sum(report["boxes"].values()) == 288 + 136
    assert sum(report["crowds"].values()) == 5
    classes = splits["train"].classes
    assert (len(classes), classes[0], classes[11], classes[89]) == (90, "person", "unused 12", "toothbrush")
    assert any(not len(boxes) for name in ("train", "test") for boxes in splits[name].boxes), "images without boxes"


def test_the_json_of_each_split_is_what_pycocotools_reads(tmp_path):
    _, splits = run("coco", shared_data("images/tiny_coco.zip"), tmp_path, test_images=6)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    for name in BOX_SPLITS:
        truth, split = COCO(str(tmp_path / f"{name}.json")), splits[name]
        assert truth.dataset["info"]["description"] == f"tiny_coco, {name}"
        assert sorted(truth.anns) == list(range(1, sum(map(len, split.boxes)) + 1))
        for i, image in enumerate(split.names):
            found = truth.loadAnns(truth.getAnnIds(imgIds=[i + 1]))
            assert truth.imgs[i + 1]["file_name"] == image
            assert [truth.cats[entry["category_id"]]["name"] for entry in found] == [split.classes[j] for j in split.labels[i]]
            assert [entry["iscrowd"] for entry in found] == split.crowd[i].tolist()
            assert all(abs(entry["area"] - entry["bbox"][2] * entry["bbox"][3]) < 1 for entry in found)
    # The first person of the original file, x, y, width, height in pixels.
    original = files.read_json(_unpacked(tmp_path, "annotations/instances_val2017.json"))
    boxes = {(entry["image_id"], tuple(entry["bbox"])) for entry in original["annotations"]}
    ids = {entry["file_name"]: entry["id"] for entry in original["images"]}
    val = files.read_json(tmp_path / "val.json")
    names = {image["id"]: image["file_name"].rpartition("/")[2] for image in val["images"]}
    for entry in val["annotations"]:
        box = np.array(entry["bbox"])
        assert min(np.abs(box - other).max() for image, other in boxes if image == ids[names[entry["image_id"]]]) < 0.02


def _unpacked(folder, name):
    with zipfile.ZipFile(shared_data("images/tiny_coco.zip")) as archive:
        archive.extract(name, folder / "original")
    return folder / "original" / name


def test_equal_arguments_give_equal_bytes(tmp_path, dataset):
    (tmp_path / "items").mkdir()
    items = tmp_path / "items/classification.npz"
    items.write_bytes(dataset.read_bytes())
    write(tmp_path / "items/dataset.json", {"dataset": "fashion_mnist", "dataset_license": "MIT"})
    digests = []
    counts = {"train_images": 8, "unlabelled_images": 5, "val_images": 4, "test_images": 4, "image_size": 64}
    for seed in (0, 0, 1):
        report, _ = run("scenes", None, tmp_path / "out", seed, items, **counts)
        digests.append([files.md5(tmp_path / "out" / name) for name in FILES])
    assert digests[0] == digests[1]
    assert digests[0][1] != digests[2][1]
    assert report["images"] == {"train": 8, "unlabelled": 5, "val": 4, "test": 4}
    assert (report["channels"], report["boxes"]["unlabelled"]) == (1, 0)
    facts = files.read_json(tmp_path / "out/dataset.json")
    assert (facts["dataset"], facts["dataset_license"], len(facts["classes"])) == ("scenes", "MIT", 10)


def coco_folder(root, count=12):
    names = [f"{i}.png" for i in range(count)]
    photos(root / "images", *names)
    boxes = [(i, (3, 7)[i % 2], 1, 1, 5 + i, 9) for i in range(count)]
    write(root / "labels.json", coco_json(names, boxes))
    return root


def test_unlabelled_images_of_another_folder(tmp_path):
    root = coco_folder(tmp_path / "x")
    photos(tmp_path / "more/deep", "a.png", "b.png", "c.png", first=50)
    for name in (7, 8):
        (tmp_path / f"more/{name}.png").write_bytes((root / f"images/{name}.png").read_bytes())
    changes = {"unlabelled_folder": str(tmp_path / "more"), "val_images": 5, "test_images": 6}
    report, splits = run("coco", root, tmp_path / "out", **changes)
    held_out = {name for split in ("val", "test") for name in splits[split].names}
    known = [name for name in (7, 8) if f"images/{name}.png" in held_out]
    assert known, "this seed puts them there"
    assert report["unlabelled_repeated"] == len(known)
    expected = {"deep/a.png", "deep/b.png", "deep/c.png", "7.png", "8.png"} - {f"{name}.png" for name in known}
    assert set(splits["unlabelled"].names) == expected
    report, splits = run("coco", root, tmp_path / "out", **changes | {"unlabelled_images": 2})
    assert report["images"]["unlabelled"] + report["unlabelled_repeated"] == 2
    assert splits["unlabelled"].classes == ("cat", "dog")


def test_classes_in_a_given_order_and_others_dropped(tmp_path):
    root = coco_folder(tmp_path / "x")
    changes = {"val_images": 2, "test_images": 2}
    _, splits = run("coco", root, tmp_path / "out", classes=["dog", "cat"], **changes)
    first = dict(zip(splits["train"].names, splits["train"].labels, strict=True))
    assert all(labels.tolist() == [int(int(name[7:-4]) % 2 == 0)] for name, labels in first.items())
    report, splits = run("coco", root, tmp_path / "out", classes=["dog"], other_classes="drop", **changes)
    assert report["dropped_boxes"]["other_class"] == 6
    assert splits["train"].classes == ("dog",)
    with pytest.raises(
        InputError, match=r"labels\.json: annotations\[0\]\.category_id: 'cat' is not in prepare_detection\.classes"
    ):
        run("coco", root, tmp_path / "out", classes=["dog"], **changes)
    with pytest.raises(InputError, match=r"prepare_detection\.classes: cow: .* has cat, dog"):
        run("coco", root, tmp_path / "out", classes=["dog", "cow"], **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": 0}, "prepare_detection.val_images: 0 means all, but .* has no val; give a number"),
        ({"test_images": 20}, "prepare_detection.test_images: 20 is not between 0 and 12"),
        ({"train_images": 9}, "prepare_detection.train_images: 9 is not between 0 and 8"),
        ({"val_images": 10}, "prepare_detection.train_images: no image is left to train on"),
        ({"unlabelled_folder": "/nowhere"}, "prepare_detection.unlabelled_folder: /nowhere: no such folder"),
    ],
)
def test_wrong_numbers_and_folders(tmp_path, changes, message):
    root = coco_folder(tmp_path / "x")
    with pytest.raises(InputError, match=message):
        run("coco", root, tmp_path / "out", **({"val_images": 2, "test_images": 2} | changes))


def test_faults_of_the_data_name_the_parameter_and_leave_no_files(tmp_path):
    with pytest.raises(InputError, match=r"prepare_detection\.folder: /nowhere: no such folder or \.zip archive"):
        run("voc", "/nowhere", tmp_path / "out")
    root = coco_folder(tmp_path / "x")
    with pytest.raises(InputError, match=rf"prepare_detection\.folder: {root}: no \.xml files"):
        run("voc", root, tmp_path / "out")
    (root / "labels.json").rename(root / "val.json")
    with pytest.raises(InputError, match=rf"prepare_detection\.folder: {root} has val, but no train images"):
        run("coco", root, tmp_path / "out")
    (root / "val.json").rename(root / "labels.json")
    (root / "images/3.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"1 broken images, more than prepare_detection\.max_broken: 0; .*images/3\.png"):
        run("coco", root, tmp_path / "out", val_images=2, test_images=2)
    report, _ = run("coco", root, tmp_path / "out2", val_images=2, test_images=2, max_broken=1)
    assert report["broken_images"] == 1
    assert sum(report["images"].values()) == 11
    empty = photos(tmp_path / "y", *(f"{i}.png" for i in range(5)))
    for i in range(5):
        write(empty / f"{i}.xml", voc_xml(f"{i}.png", ("cat", 3, 3, 3, 3)))
    with pytest.raises(InputError, match="no boxes to train on"):
        run("voc", empty, tmp_path / "out", val_images=1, test_images=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dataset", "changes", "message"),
    [
        ("scenes", {"train_images": 1, "val_images": 1}, "test_images: 0: must be at least 1 for dataset scenes"),
        ("scenes", {"classes": ["cat"]}, "classes: .*: must be null for dataset scenes"),
        ("voc", {"folder": None}, "folder: null: dataset voc needs one"),
        ("voc", {"tracked": "build/data"}, "tracked: build/data: must be data/detection.index for dataset voc"),
        ("voc", {"numbering": "category_id"}, "numbering: category_id: is for dataset coco with classes null"),
        ("coco", {"classes": []}, "classes: empty: must be different names, at least one"),
        ("coco", {"classes": ["a", "a"]}, "classes: a, a: must be different names"),
        ("coco", {"other_classes": "drop"}, "other_classes: drop: must be stop where classes is null"),
    ],
)
def test_parameters_that_contradict_each_other(dataset, changes, message):
    with pytest.raises(ValueError, match=message):
        params(dataset, None if dataset == "scenes" else "x", **changes)


def test_the_format_of_a_folder(tmp_path):
    with Tree(coco_folder(tmp_path / "x")) as tree:
        assert format_of(tree) == "coco"
    write(tmp_path / "x/deep/0.xml", voc_xml("0.png"))
    with Tree(tmp_path / "x") as tree:
        assert format_of(tree) == "voc"


def test_the_index_changes_with_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_detection_index(params("scenes", None, train_images=1, val_images=1, test_images=1))
    root = coco_folder(tmp_path / "x")
    given = params("coco", root, unlabelled_folder=str(root / "images"))
    assert write_detection_index(given)
    assert not write_detection_index(given)
    write(root / "labels.json", "{}")
    assert write_detection_index(given)
    assert not write_detection_index(params("coco", tmp_path / "elsewhere")), "a machine without the images"
