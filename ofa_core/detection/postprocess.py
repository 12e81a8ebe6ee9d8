"""From encodings and scores to detections, in NumPy: what TFLite's operator TFLite_Detection_PostProcess computes.

After TensorFlow's kernel, lite/kernels/detection_postprocess.cc, now tflite/kernels in google-ai-edge/LiteRT.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ofa_core.detection.coding import SCALES, decode
from ofa_core.detection.matching import iou
from ofa_core.run.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PostprocessSettings:
    """The attributes of the operator. Raises InputError, naming the field, for values that it cannot run with."""

    num_classes: int
    """Classes that are scored, C; none of them is the background."""
    score_threshold: float
    """Least score of a detection. Its time depends on it: below, nothing is compared. In 0..1."""
    iou_threshold: float
    """A box is suppressed if its IoU with a better one is above this. Above 0, up to 1."""
    use_regular_nms: bool
    """True: non-maximum suppression class by class, every anchor in each. False, the fast one: once, every anchor with its best
    class."""
    max_detections: int = 100
    """Most detections of an image."""
    detections_per_class: int = 100
    """Most detections of one class, with regular suppression."""
    max_classes_per_detection: int = 1
    """Rows that a box gets, one for each of its best classes, with fast suppression."""
    scales: tuple[float, float, float, float] = SCALES
    """Of the encodings ty, tx, th, tw."""

    def __post_init__(self) -> None:
        for field in ("num_classes", "max_detections", "detections_per_class"):
            if getattr(self, field) < 1:
                raise InputError(f"{field}: {getattr(self, field)}: must be 1 or more")
        if not 0 <= self.score_threshold <= 1:
            raise InputError(f"score_threshold: {self.score_threshold}: must be in 0..1")
        if not 0 < self.iou_threshold <= 1:
            raise InputError(f"iou_threshold: {self.iou_threshold}: must be above 0, up to 1")
        if not 1 <= self.max_classes_per_detection <= self.num_classes:
            raise InputError(f"max_classes_per_detection: {self.max_classes_per_detection}: must be in 1..{self.num_classes}")
        if len(self.scales) != 4 or min(self.scales) <= 0:
            raise InputError(f"scales: {list(self.scales)}: must be four numbers above 0")


class Detections(NamedTuple):
    """Of one image, best first. boxes: float32 (n, 4), as corners and not clipped. labels: int64 (n,). scores: float32 (n,)."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def postprocess(encodings: np.ndarray, scores: np.ndarray, anchors: np.ndarray, settings: PostprocessSettings) -> Detections:
    """The rows of the operator's outputs that are valid.

    encodings: float32 (A, 4). scores: float32 (A, C). anchors: float32 (A, 4) y, x, h, w.

    The operator's count is the number of boxes; with fast suppression each has `max_classes_per_detection` rows.
    Of equal scores the lower class comes first, then the lower anchor. Older kernels order classes otherwise, and so does
    regular suppression in several threads, which loses one too (`detector_export.operator`).
    """
    boxes = decode(encodings, anchors, settings.scales)
    return (_regular if settings.use_regular_nms else _fast)(boxes, np.asarray(scores, np.float32), settings)


def _regular(boxes: np.ndarray, scores: np.ndarray, settings: PostprocessSettings) -> Detections:
    """`NonMaxSuppressionMultiClassRegularHelper`: boxes (A, 4), scores (A, C)."""
    most = min(settings.detections_per_class, settings.max_detections)
    rows, labels = (kept[: settings.max_detections] for kept in _suppress(boxes, scores, settings, most))
    return Detections(boxes[rows], labels, scores[rows, labels])


def _fast(boxes: np.ndarray, scores: np.ndarray, settings: PostprocessSettings) -> Detections:
    """`NonMaxSuppressionMultiClassFastHelper`: boxes (A, 4), scores (A, C)."""
    kept, _ = _suppress(boxes, scores.max(axis=1, keepdims=True), settings, settings.max_detections)
    labels = np.argsort(-scores[kept], axis=1, kind="stable")[:, : settings.max_classes_per_detection].reshape(-1)
    rows = np.repeat(kept, settings.max_classes_per_detection)
    return Detections(boxes[rows], labels, scores[rows, labels])


def _suppress(boxes: np.ndarray, scores: np.ndarray, settings: PostprocessSettings, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) and columns (n,) of the scores (A, C) that are kept, best first, at most `most` of each column.

    `NonMaxSuppressionSingleClassHelper` of the kernel for all columns at once, in float32 as there: each step keeps the best
    box of every column, and drops those that it overlaps too much.
    """
    used = np.flatnonzero((scores >= np.float32(settings.score_threshold)).any(axis=1))
    left = scores[used].T  # (C, a)
    left = np.where(left >= np.float32(settings.score_threshold), left, -np.inf)
    near = iou(boxes[used], boxes[used]) > np.float32(settings.iou_threshold)
    np.fill_diagonal(near, True)
    columns, kept = np.arange(len(left)), [np.zeros((2, 0), np.int64)]
    for _ in range(most if len(used) else 0):
        best = left.argmax(axis=1)
        some = left[np.arange(len(left)), best] > -np.inf
        if not some.all():
            left, columns, best = left[some], columns[some], best[some]
        if not len(left):
            break
        kept.append(np.stack([used[best], columns]))
        left[near[best]] = -np.inf
    rows, columns = np.concatenate(kept, axis=1)
    order = np.lexsort((rows, columns, -scores[rows, columns]))
    return rows[order], columns[order]
