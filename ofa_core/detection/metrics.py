"""How good detections are: COCO's average precision, and its variant of the on-device vision challenges."""

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any, Protocol

import numpy as np

from ofa_core.detection.matching import iou
from ofa_core.detection.postprocess import Detections

Found = Detections
"""What a detector finds in one image, in any order. boxes: (n, 4), shares of height and width. labels: (n,). scores: (n,)."""

THRESHOLDS = (0.5 + 0.05 * np.arange(10)).astype(np.float32)
"""IoU from which a box counts as found; the average precisions at these are averaged."""
RECALL_STEPS = 100
"""Precision is averaged over recalls of 0, 1/100, ..., 1."""


class Truth(Protocol):
    """What is in N images, as `images.boxes.BoxSplit` has it. n_i may be 0."""

    @property
    def boxes(self) -> Sequence[np.ndarray]:
        """N arrays (n_i, 4): ymin, xmin, ymax, xmax, shares (0..1) of the image's height and width."""

    @property
    def labels(self) -> Sequence[np.ndarray]:
        """N arrays of whole numbers (n_i,), indices into classes."""

    @property
    def crowd(self) -> Sequence[np.ndarray]:
        """N arrays bool (n_i,): boxes around groups."""

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2): height and width of the images in pixels."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""


# ------------------------------------------------------------------------------------------------------------------- COCO


def coco_metrics(truth: Truth, found: Sequence[Found]) -> dict[str, Any]:
    """COCO's average precisions, 0..1, as pycocotools computes them (https://cocodataset.org/#detection-eval).

    map: mean over IoU 0.50, 0.55, ..., 0.95 and classes. ap50, ap75: at one IoU. map_small, map_medium, map_large: of objects
    below 32 x 32 pixels, up to 96 x 96, and above, by the area of the box. map_by_class: map by the name of the class.
    None where the truth has no such object. Only the 100 best detections of an image count. What is found in a crowd is
    neither right nor wrong. Labels that are no class of the truth do not count.

    found: of the same N images, in order.
    """
    from pycocotools.cocoeval import COCOeval  # not part of a plain installation

    with redirect_stdout(io.StringIO()):  # it prints its progress
        evaluation = COCOeval(_coco(truth, _truths(truth)), _coco(truth, _detections(truth, found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # (10 IoUs, 101 recalls, classes, areas: all, small, medium, large); of 1, 10 and 100 detections an image, the last
    precision = evaluation.eval["precision"][..., -1]
    metrics: dict[str, Any] = {"map": _mean(precision[..., 0])}
    metrics |= {"ap50": _mean(precision[0, ..., 0]), "ap75": _mean(precision[5, ..., 0])}
    metrics |= {f"map_{area}": _mean(precision[..., i]) for i, area in enumerate(("small", "medium", "large"), 1)}
    by_class = {name: _mean(precision[:, :, i, 0]) for i, name in enumerate(truth.classes)}
    return metrics | {"map_by_class": by_class}


def _mean(precision: np.ndarray) -> float | None:
    """pycocotools marks with -1 what has no truth, and adds the smallest float to a divisor, so its best value is below 1."""
    known = precision[precision > -1]
    return round(float(known.mean()), 12) if known.size else None


def _coco(truth: Truth, annotations: Iterator[dict[str, Any]]) -> Any:
    """A data set in pycocotools' form. Built here, not by its loadRes, which fails without any detection."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(1, len(truth.boxes) + 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(truth.classes, 1)],
        # pycocotools takes an id of 0 for no match.
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
    }
    coco.createIndex()
    return coco


def _truths(truth: Truth) -> Iterator[dict[str, Any]]:
    for i, crowds in enumerate(truth.crowd):
        for annotation, crowd in zip(_annotations(truth, i, truth.boxes[i], truth.labels[i]), crowds, strict=True):
            yield {**annotation, "iscrowd": int(crowd)}


def _detections(truth: Truth, found: Sequence[Found]) -> Iterator[dict[str, Any]]:
    for i, (one, _) in enumerate(zip(found, truth.boxes, strict=True)):
        for annotation, score in zip(_annotations(truth, i, one.boxes, one.labels), one.scores, strict=True):
            yield {**annotation, "score": float(score)}


def _annotations(truth: Truth, image: int, boxes: np.ndarray, labels: np.ndarray) -> Iterator[dict[str, Any]]:
    """Boxes (n, 4) and labels (n,) of an image in COCO's form: x, y, width and height in pixels, ids from 1."""
    pixels = np.asarray(boxes, np.float64) * np.tile(truth.sizes[image], 2)
    for (top, left, bottom, right), label in zip(pixels.tolist(), labels.tolist(), strict=True):
        width, height = right - left, bottom - top
        box = {"bbox": [left, top, width, height], "area": width * height}
        yield {"image_id": image + 1, "category_id": label + 1, **box}


# ------------------------------------------------------------------------------------------------------------------- OVIC


def ovic_map(truth: Truth, found: Sequence[Found]) -> float | None:
    """The mean average precision, 0..1, that the challenges OVIC and LPCVC compute; None without any box.

    By TensorFlow's lite/tools/evaluation: `AveragePrecision` of stages/utils/image_metrics.cc, averaged over IoU and classes by
    stages/object_detection_average_precision_stage.cc. Unlike COCO's, a class that is found though it is nowhere counts as 0,
    crowds are objects like others, and a detection is matched with the box it overlaps most among those left.

    found: of the same N images, in order.
    """
    scored = [_class_precision(truth, found, label) for label in _present(truth, found)]
    return float(np.mean(scored)) if scored else None


def _present(truth: Truth, found: Sequence[Found]) -> list[int]:
    """The labels in the truth or among the detections."""
    labels = [*truth.labels, *(one.labels for one in found)]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *labels])).tolist()


def _class_precision(truth: Truth, found: Sequence[Found], label: int) -> np.ndarray:
    """Average precision (10,) of a class at each of `THRESHOLDS`; 0 if the truth does not have the class."""
    right, scores, objects = [np.zeros((0, len(THRESHOLDS)), np.bool_)], [np.zeros(0, np.float32)], 0
    for boxes, labels, one in zip(truth.boxes, truth.labels, found, strict=True):
        of_class = np.flatnonzero(one.labels == label)
        of_class = of_class[np.argsort(-one.scores[of_class], kind="stable")]
        wanted = boxes[labels == label]
        right.append(_matched(one.boxes[of_class], wanted))
        scores.append(one.scores[of_class])
        objects += len(wanted)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    if not objects or not len(order):
        return np.zeros(len(THRESHOLDS))
    return np.array([_average_precision(column, objects) for column in np.concatenate(right)[order].T])


def _matched(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Whether each detection (n, 4), best first, gets one of the boxes (m, 4), at each of `THRESHOLDS`: bool (n, 10)."""
    matched = np.zeros((len(found), len(THRESHOLDS)), np.bool_)
    if not len(found) or not len(wanted):
        return matched
    overlaps = iou(np.asarray(found, np.float32), np.asarray(wanted, np.float32))  # (n, m)
    for column, threshold in zip(matched.T, THRESHOLDS, strict=True):
        left = overlaps.copy()
        for row in np.flatnonzero(overlaps.max(axis=1) >= threshold):  # no other can get a box
            best = left[row].argmax()
            if left[row, best] >= threshold:
                column[row] = True
                left[:, best] = -1
    return matched


def _average_precision(right: np.ndarray, objects: int) -> float:
    """Mean precision at the recalls. right: bool (n,), of detections, best first; n is not 0. objects: how many there are."""
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    first = np.searchsorted(hits * RECALL_STEPS, np.arange(RECALL_STEPS + 1) * objects)  # that reaches each recall
    return float(np.append(envelope, 0.0)[first].mean())
