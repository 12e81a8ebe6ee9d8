"""The task of detection: answers without what is no detection, agreement of files, scores, reports."""

from typing import Any

import numpy as np
import pytest

from ofa_core.commands.detect import Truth
from ofa_core.tasks import get_task

TASK = get_task("detection")
A, B = [0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9]


def outputs(*images: list[tuple[list[float], int, float]], rows: int = 4) -> dict[str, np.ndarray]:
    """Of images with detections (box, class, score); the rows after the count are full of rubbish."""
    boxes, classes, scores = (
        np.full((len(images), rows, *shape), value, np.float32) for shape, value in (((4,), 7.0), ((), 3.0), ((), 0.9))
    )
    for i, found in enumerate(images):
        for row, (box, label, score) in enumerate(found):
            boxes[i, row], classes[i, row], scores[i, row] = box, label, score
    count = np.array([len(found) for found in images], np.float32)
    return dict(TASK.named(boxes, classes, scores, count))


def truth(*images: list[tuple[list[float], int]]) -> Truth:
    boxes = [np.array([box for box, _ in of], np.float32).reshape(-1, 4) for of in images]
    labels = [np.array([label for _, label in of], np.int64) for of in images]
    crowd = [np.zeros(len(of), np.bool_) for of in images]
    return Truth(boxes, labels, crowd, np.full((len(images), 2), 100), ("cat", "dog"))


def test_answers_end_at_the_count() -> None:
    answers = TASK.answers(outputs([(A, 1, 0.8)], []))
    assert answers.shape == (2, 4, 6)
    assert answers[0, 0].tolist() == pytest.approx([*A, 1, 0.8])
    assert (answers[:, 1:] == [0, 0, 0, 0, -1, 0]).all()
    one, none = TASK.found(answers)
    assert (one.labels.tolist(), one.labels.dtype, none.boxes.shape) == ([1], np.int64, (0, 4))


def test_scores() -> None:
    wanted = truth([(A, 0), (B, 1)], [])
    perfect, empty = outputs([(A, 0, 0.9), (B, 1, 0.8)], []), outputs([], [])
    found = TASK.score(TASK.answers(perfect), wanted)
    assert [found[name] for name in TASK.scores] == [1.0, 1.0, 1.0, None, 1.0, None, 1.0]
    assert found["map_by_class"] == {"cat": 1.0, "dog": 1.0}
    found = TASK.score(TASK.answers(empty), wanted)
    assert [found[name] for name in TASK.scores] == [0.0, 0.0, 0.0, None, 0.0, None, 0.0]
    assert TASK.score_name == "map"
    assert TASK.summary(found) == (
        "map 0.00%, ap50 0.00%, ap75 0.00%, map_small none, map_medium 0.00%, map_large none, ovic_map 0.00%"
    )


def test_scores_of_batches_are_those_of_the_whole() -> None:
    images: Any = [[(A, 0, 0.9)], [(A, 0, 0.7), (B, 1, 0.8)], [(B, 0, 0.6)]]
    wanted = truth([(A, 0)], [(B, 1)], [(A, 0)])
    parts = np.concatenate([TASK.answers(outputs(*images[:1])), TASK.answers(outputs(*images[1:]))])
    assert TASK.score(parts, wanted) == TASK.score(TASK.answers(outputs(*images)), wanted)


def test_agreement_is_about_the_best_box() -> None:
    moved = [0.1, 0.12, 0.5, 0.52]
    a = outputs([(A, 0, 0.9), (B, 1, 0.8)], [(A, 0, 0.9)], [(A, 0, 0.9)], [], [])
    b = outputs([(moved, 0, 0.7)], [(A, 1, 0.9)], [(B, 0, 0.9)], [], [(A, 0, 0.9)])
    assert TASK.agreement(TASK.answers(a), TASK.answers(b)) == pytest.approx(2 / 5)
    assert TASK.compare(a, a) == {"largest_difference": 0.0, "same_best_box": 1.0}


def test_rows_after_the_count_are_not_compared() -> None:
    a, b = outputs([(A, 0, 0.9)]), outputs([(A, 0, 0.8)])
    b["boxes"][0, 2] = 99
    assert TASK.compare(a, b) == {"largest_difference": pytest.approx(0.1), "same_best_box": 1.0}


def test_what_is_shown() -> None:
    report = TASK.report(outputs([([0.25, -0.5, 0.75, 1.0], 1, 0.5)]), ["cat", "dog"])
    assert report == {"boxes": [{"index": 1, "label": "dog", "score": 0.5, "box": [0.25, -0.5, 0.75, 1.0]}]}
    assert TASK.lines(report) == [" 50.00%   0.250 -0.500  0.750  1.000  dog"]
    assert TASK.report(outputs([]), ["cat"]) == {"boxes": []}


def test_shares_among_metrics() -> None:
    shares = ["map", "ap50", "float_map", "map_small", "ovic_map", "predicted_map"]
    assert [name for name in [*shares, "latency_ms", "images", "remap", "device"] if TASK.is_share(name)] == shares
