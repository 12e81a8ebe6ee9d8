"""The reference of TFLite's operator for detections. tests/detector_export/test_operator.py compares it with the operator."""

from dataclasses import replace

import numpy as np
import pytest

from ofa_core.detection.coding import encode, to_centres
from ofa_core.detection.postprocess import PostprocessSettings, postprocess

SETTINGS = PostprocessSettings(num_classes=2, score_threshold=0.3, iou_threshold=0.5, use_regular_nms=True)
BOXES = np.array([[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.38], [0.5, 0.5, 1.2, 1], [0.5, 0.1, 0.6, 0.2]], np.float32)
"""The first two overlap."""
SCORES = np.array([[0.9, 0.6], [0.5, 0.8], [0.2, 0.7], [0.1, 0.2]], np.float32)
ANCHORS = to_centres(BOXES[[2, 0, 0, 1]])


def found(settings: PostprocessSettings, scores: np.ndarray = SCORES) -> list[tuple[int, int, float]]:
    """(index of box, class, score) of each detection."""
    boxes, labels, values = postprocess(encode(BOXES, ANCHORS), scores, ANCHORS, settings)
    rows = [int(np.abs(BOXES - box).sum(axis=1).argmin()) for box in boxes]
    np.testing.assert_allclose(boxes, BOXES[rows], atol=1e-6)
    return [(row, int(label), round(float(value), 4)) for row, label, value in zip(rows, labels, values, strict=True)]


def test_regular_suppresses_in_each_class() -> None:
    assert found(SETTINGS) == [(0, 0, 0.9), (1, 1, 0.8), (2, 1, 0.7)]
    assert found(replace(SETTINGS, iou_threshold=1.0)) == [(0, 0, 0.9), (1, 1, 0.8), (2, 1, 0.7), (0, 1, 0.6), (1, 0, 0.5)]
    assert found(replace(SETTINGS, detections_per_class=1)) == [(0, 0, 0.9), (1, 1, 0.8)]
    assert found(replace(SETTINGS, max_detections=2)) == [(0, 0, 0.9), (1, 1, 0.8)]


def test_fast_suppresses_once() -> None:
    fast = replace(SETTINGS, use_regular_nms=False)
    assert found(fast) == [(0, 0, 0.9), (2, 1, 0.7)]
    assert found(replace(fast, max_classes_per_detection=2)) == [(0, 0, 0.9), (0, 1, 0.6), (2, 1, 0.7), (2, 0, 0.2)]
    assert found(replace(fast, max_detections=1)) == [(0, 0, 0.9)]


@pytest.mark.parametrize("regular", [True, False])
def test_thresholds(regular: bool) -> None:
    settings = replace(SETTINGS, use_regular_nms=regular)
    assert found(settings, SCORES * 0) == []
    assert len(found(replace(settings, score_threshold=0.7))) == 2 + regular  # a score equal to the threshold counts
    same = np.full_like(SCORES, 0.5)
    assert [row for row, label, _ in found(settings, same) if label == 0] == [0, 2, 3]  # of equal scores the first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes: 0: must be 1 or more"),
        ({"max_detections": 0}, "max_detections: 0: must be 1 or more"),
        ({"score_threshold": 1.5}, r"score_threshold: 1.5: must be in 0\.\.1"),
        ({"iou_threshold": 0.0}, "iou_threshold: 0.0: must be above 0, up to 1"),
        ({"max_classes_per_detection": 3}, r"max_classes_per_detection: 3: must be in 1\.\.2"),
        ({"scales": (10.0, 10.0, 5.0)}, r"scales: \[10.0, 10.0, 5.0\]: must be four numbers above 0"),
    ],
)
def test_settings_that_the_operator_cannot_run_with(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(SETTINGS, **changes)  # type: ignore[arg-type]
