"""Average precision: worked out by hand, against pycocotools' own way in, and at the ends of the scale."""

import contextlib
import io
import json
from typing import NamedTuple

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ofa_core.detection.metrics import Found, coco_metrics, ovic_map
from ofa_core.images.tree import Tree
from tests.conftest import shared_data

METRICS = (coco_metrics, ovic_map)
KEYS = ("map", "ap50", "ap75", "map_small", "map_medium", "map_large")


class Boxes(NamedTuple):
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    crowd: list[np.ndarray]
    sizes: np.ndarray
    classes: tuple[str, ...]


def truth(*images, classes=("cat", "dog"), size=(100, 100), crowd=None):
    """images: (boxes, labels) each."""
    boxes = [np.array(boxes, np.float32).reshape(-1, 4) for boxes, _ in images]
    labels = [np.array(labels, np.int64) for _, labels in images]
    crowds = [np.zeros(len(each), bool) for each in labels] if crowd is None else [np.array(each, bool) for each in crowd]
    return Boxes(boxes, labels, crowds, np.tile(size, (len(images), 1)), classes)


def find(boxes, labels, scores):
    return Found(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32))


NOTHING = find([], [], [])
A, B, C = [0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9], [0.0, 0.6, 0.2, 0.8]


def random_case(seed, images=12, classes=3, crowds=0.1):
    """Truth, and detections that are moved truth, doubles and noise."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner, size = rng.uniform(0, 0.7, (count, 2)), rng.uniform(0.02, 0.3, (count, 2))
        return np.concatenate([corner, corner + size], 1)

    wanted = truth(
        *((boxes(n), rng.integers(0, classes, n)) for n in rng.integers(0, 6, images)),
        classes=tuple(f"class {i}" for i in range(classes)),
    )
    crowd = [rng.random(len(labels)) < crowds for labels in wanted.labels]
    wanted = wanted._replace(crowd=crowd, sizes=rng.integers(40, 700, (images, 2)))
    found = []
    for each, labels in zip(wanted.boxes, wanted.labels, strict=True):
        moved = each.repeat(2, 0) + rng.normal(0, 0.02, (2 * len(each), 4))
        noise = boxes(4)
        everything = np.concatenate([moved, noise])
        of = np.concatenate([labels.repeat(2), rng.integers(0, classes, 4)])
        found.append(find(everything, of, rng.random(len(everything)).round(2)))  # some scores are equal
    return wanted, found


def by_pycocotools(wanted, found, tmp_path):
    """Through files, loadRes and summarize: the way that its users take."""
    annotations, results = [], []
    for i, size in enumerate(wanted.sizes):
        for box, label, crowd in zip(wanted.boxes[i], wanted.labels[i], wanted.crowd[i], strict=True):
            top, left, bottom, right = (np.float64(box) * np.tile(size, 2)).tolist()
            bbox = [left, top, right - left, bottom - top]
            entry = {"id": len(annotations) + 1, "image_id": i + 7, "category_id": int(label) * 3 + 1, "bbox": bbox}
            annotations.append(entry | {"area": bbox[2] * bbox[3], "iscrowd": int(crowd)})
        for box, label, score in zip(*found[i], strict=True):
            top, left, bottom, right = (np.float64(box) * np.tile(size, 2)).tolist()
            bbox = [left, top, right - left, bottom - top]
            results.append({"image_id": i + 7, "category_id": int(label) * 3 + 1, "bbox": bbox, "score": float(score)})
    images = [{"id": i + 7} for i in range(len(wanted.sizes))]
    categories = [{"id": i * 3 + 1, "name": name} for i, name in enumerate(wanted.classes)]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [None if value == -1 else value for value in evaluation.stats[:6].tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_against_pycocotools(seed, tmp_path, capsys):
    wanted, found = random_case(seed)
    metrics = coco_metrics(wanted, found)
    assert [metrics[key] for key in KEYS] == pytest.approx(by_pycocotools(wanted, found, tmp_path), abs=1e-12)
    assert 0 < metrics["map"] < 1
    assert list(metrics) == [*KEYS, "map_by_class"]
    assert metrics["map"] == pytest.approx(np.mean(list(metrics["map_by_class"].values())))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_detector_and_an_empty_one(seed):
    wanted, _ = random_case(seed)
    perfect = [find(boxes, labels, np.ones(len(labels))) for boxes, labels in zip(wanted.boxes, wanted.labels, strict=True)]
    empty = [NOTHING] * len(perfect)
    assert [coco_metrics(wanted, perfect)[key] for key in ("map", "ap50", "ap75")] == [1.0] * 3
    assert set(coco_metrics(wanted, perfect)["map_by_class"].values()) == {1.0}
    assert [coco_metrics(wanted, empty)[key] for key in ("map", "ap50", "ap75")] == [0.0] * 3
    assert ovic_map(wanted, perfect) == 1.0
    assert ovic_map(wanted, empty) == 0.0


def test_nothing_to_find():
    wanted = truth(([], []), ([], []))
    assert coco_metrics(wanted, [NOTHING, NOTHING]) == dict.fromkeys(KEYS) | {"map_by_class": {"cat": None, "dog": None}}
    assert ovic_map(wanted, [NOTHING, NOTHING]) is None
    assert coco_metrics(wanted, [find([A], [0], [0.5]), NOTHING])["map"] is None
    assert ovic_map(wanted, [find([A], [0], [0.5]), NOTHING]) == 0.0


def test_sizes_are_those_of_the_photo():
    """A box of 0.4 x 0.4 is small in a photo of 70 x 70 pixels, medium in 100 x 200, and large in 300 x 300."""
    for size, area in (((70, 70), "small"), ((100, 200), "medium"), ((300, 300), "large")):
        metrics = coco_metrics(truth(([A], [0]), size=size), [find([A], [0], [0.5])])
        assert [metrics[f"map_{name}"] for name in ("small", "medium", "large")] == [
            1.0 if name == area else None for name in ("small", "medium", "large")
        ]
        assert metrics["map_by_class"] == {"cat": 1.0, "dog": None}


def test_precision_by_hand():
    """Right, wrong, right, of three objects: precision 1 up to recall 1/3, then 2/3 up to 2/3, then 0.

    Of the recalls 0, 0.01, ..., 1 there are 34 up to 1/3, 33 more up to 2/3, and 34 above.
    """
    wanted = truth(([A, B], [0, 0]), ([A], [0]), classes=("cat",))
    found = [find([A, C], [0, 0], [0.9, 0.8]), find([A], [0], [0.7])]
    expected = (34 + 33 * 2 / 3) / 101
    assert ovic_map(wanted, found) == pytest.approx(expected)
    assert coco_metrics(wanted, found)["map"] == pytest.approx(expected)


def test_a_box_is_found_once():
    wanted = truth(([A], [0]))
    twice = [find([A, A], [0, 0], [0.9, 0.8])]
    assert ovic_map(wanted, twice) == coco_metrics(wanted, twice)["map"] == 1.0  # the second comes after recall 1
    better_last = [find([C, A], [0, 0], [0.9, 0.8])]
    assert ovic_map(wanted, better_last) == coco_metrics(wanted, better_last)["map"] == 0.5


def test_a_box_of_half_the_size_counts_at_the_lowest_threshold_alone():
    """IoU is exactly 0.5, which is enough."""
    wanted, found = truth(([[0, 0, 0.5, 1]], [0])), [find([[0, 0, 1, 1]], [0], [0.5])]
    assert coco_metrics(wanted, found)["ap50"] == 1.0
    assert coco_metrics(wanted, found)["map"] == ovic_map(wanted, found) == pytest.approx(0.1)


def test_a_class_that_is_not_there_counts_in_the_challenge_alone():
    wanted = truth(([A], [0]))
    found = [find([A, B], [0, 1], [0.9, 0.9])]
    assert coco_metrics(wanted, found)["map"] == 1.0
    assert ovic_map(wanted, found) == 0.5
    assert ovic_map(wanted, [find([A, B], [0, 7], [0.9, 0.9])]) == 0.5  # a label without a name


def test_crowds():
    """pycocotools: what is found in one is neither right nor wrong. The challenge takes it for an object."""
    wanted = truth(([A, B], [0, 0]), crowd=[[False, True]])
    small = [0.6, 0.6, 0.7, 0.7]
    found = [find([small, A], [0, 0], [0.9, 0.8])]
    assert coco_metrics(wanted, found)["map"] == 1.0
    assert ovic_map(wanted, found) == pytest.approx(51 / 101 / 2)
    assert ovic_map(wanted, [find([B, A], [0, 0], [0.9, 0.8])]) == 1.0
    assert coco_metrics(wanted, [NOTHING])["map"] == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_images_must_be_as_many(metric):
    with pytest.raises(ValueError, match="zip"):
        metric(truth(([A], [0])), [NOTHING, NOTHING])


def test_annotations_of_coco(tmp_path):
    """Real boxes and crowds: as perfect by us as by pycocotools, and equal to it for boxes that are 5 % too large."""
    with Tree(shared_data("images/tiny_coco.zip")) as tree:
        [name] = [name for name in tree.files if name.endswith("instances_val2017.json")]
        content = json.loads(tree.read(name))
    ids = sorted(category["id"] for category in content["categories"])
    boxes, labels, crowd, sizes = [], [], [], []
    for image in content["images"]:
        of = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        pixels = np.array([each["bbox"] for each in of]).reshape(-1, 4)[:, [1, 0, 3, 2]]
        pixels[:, 2:] += pixels[:, :2]
        sizes.append((image["height"], image["width"]))
        boxes.append((pixels / np.tile(sizes[-1], 2)).astype(np.float32))
        labels.append(np.array([ids.index(each["category_id"]) for each in of], np.int64))
        crowd.append(np.array([each["iscrowd"] for each in of], bool))
    wanted = Boxes(boxes, labels, crowd, np.array(sizes), tuple(map(str, ids)))
    perfect = [find(each, of, np.ones(len(of))) for each, of in zip(boxes, labels, strict=True)]
    assert coco_metrics(wanted, perfect)["map"] == ovic_map(wanted, perfect) == 1.0
    grown = []
    for i, one in enumerate(perfect):
        half = (one.boxes[:, 2:] - one.boxes[:, :2]) * 0.025
        larger = np.concatenate([one.boxes[:, :2] - half, one.boxes[:, 2:] + half], 1)
        grown.append(find(larger, one.labels, np.linspace(0.9, 0.1, len(half)) + 0.001 * i))
    metrics = coco_metrics(wanted, grown)
    assert [metrics[key] for key in KEYS] == pytest.approx(by_pycocotools(wanted, grown, tmp_path), abs=1e-12)
    assert 0.7 < metrics["map"] < 0.95
