"""Pseudo-labels: what a trained teacher finds, COCO's own reading of it, and results that do not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from ofa_core.datasets.coco import instances
from ofa_core.detection.matching import iou
from ofa_core.detector_tuning.pseudo_labels import counts, find, joined, labelled, read_results, teacher_of, with_boxes
from ofa_core.detectors.design import Design
from ofa_core.images.boxes import BoxSplit
from ofa_core.run.errors import InputError
from tests.squares import SPACE, anchors, squares, trained

R = 40


class Boxes:
    """Anchors of `tests.squares`, as a design has them."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        [self.resolution] = [r for r in SPACE.resolutions if SPACE.map_sides(r) == sides]

    def boxes(self) -> np.ndarray:
        return anchors(self.resolution)


DESIGN = Design(SPACE, Boxes)  # type: ignore[arg-type]


def unlabelled() -> BoxSplit:
    known = squares(20)
    empty = [(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))] * 20
    boxes, labels, crowd = map(list, zip(*empty, strict=True))
    return known._replace(boxes=boxes, labels=labels, crowd=crowd, sizes=np.full((20, 2), (80, 120)))


def test_a_teacher_labels_images(tmp_path: Path) -> None:
    found = trained()
    assert teacher_of(found.net, squares(320), found.val.split, DESIGN, R, 128, 0) == pytest.approx(
        found.evaluator.subnet_score(found.net, SPACE.largest(R)), abs=0.05
    )
    rows = find(found.net, unlabelled(), DESIGN, R, 0.3)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    # pycocotools takes them for the images of unlabelled.json.
    truth = COCO()
    truth.dataset = instances(unlabelled(), "unlabelled")
    truth.createIndex()
    assert len(truth.loadRes(str(path)).anns) == len(rows) > 8

    split = labelled(unlabelled(), read_results(path), 0.3, "results.json")
    known = squares(20)
    right = [
        iou(boxes, truths).max() > 0.5 and labels[0] == wanted[0]
        for boxes, labels, truths, wanted in zip(split.boxes, split.labels, known.boxes, known.labels, strict=True)
        if len(boxes) and len(truths)
    ]
    assert np.mean(right) > 0.8
    told, some = counts(split), with_boxes(split)
    assert sum(told["boxes"].values()) == sum(map(len, split.labels))
    assert told["images_with_boxes"] == len(some.images) == len(some.names)
    both = joined(known, some)
    assert len(both.images) == len(both.boxes) == len(both.labels) == len(both.sizes) == 20 + len(some.images)
    assert (both.boxes[20] == some.boxes[0]).all()


def test_scores_below_the_least_are_left_out() -> None:
    rows = [{"image_id": 2, "category_id": 1, "bbox": [12, 8, 24, 16], "score": score} for score in (0.9, 0.4)]
    split = labelled(unlabelled(), rows, 0.5, "x")
    [box] = split.boxes[1]
    assert box.tolist() == pytest.approx([0.1, 0.1, 0.3, 0.3])
    assert [len(boxes) for boxes in split.boxes] == [0, 1] + [0] * 18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 21}, "t.json: [0].image_id: 21: unlabelled.json has 1 to 20"),
        ({"category_id": 3}, "t.json: [0].category_id: 3: there are 1 to 2"),
        ({"bbox": [130, 8, 24, 16]}, "t.json: [0].bbox: [130, 8, 24, 16]: no area in the image"),
    ],
)
def test_results_of_other_images_are_refused(change: dict[str, Any], message: str) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [12, 8, 24, 16], "score": 0.9} | change
    with pytest.raises(InputError) as error:
        labelled(unlabelled(), [row], 0.5, "t.json")
    assert str(error.value) == message


def test_files_that_are_no_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for content, message in (('{"images": []}', "not a list of COCO results"), ('[{"image_id": 1}]', "[0]: must have")):
        path.write_text(content)
        with pytest.raises(InputError, match=str(path)) as error:
            read_results(path)
        assert message in str(error.value)
