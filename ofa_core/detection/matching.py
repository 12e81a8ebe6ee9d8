"""Which box each anchor learns: TensorFlow's matcher of SSD (`argmax_matcher.py` with `force_match_for_each_row`)."""

import numpy as np

from ofa_core.detection.coding import to_corners

THRESHOLD = 0.5
"""Least IoU of an anchor with its box, as in Liu et al. 2016, section 2.2."""
UNMATCHED = -1
"""An anchor that shows no box."""
IGNORED = -2
"""An anchor that says nothing, for it lies in a crowd of objects that have no boxes of their own."""
LEAST_AREA = np.finfo(np.float32).tiny


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4) and others (m, 4), as corners. 0 for a box without area.

    Computed in the order of `ComputeIntersectionOverUnion` of TensorFlow's lite/kernels/detection_postprocess.cc, so float32
    boxes give its bits.
    """
    shared = _intersections(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others) - shared
    return np.divide(shared, np.maximum(union, LEAST_AREA, out=union), out=shared)


class Matcher:
    """Matches the boxes of one image after another with the same anchors.

    anchors: float32 (A, 4) y, x, h, w. threshold: least IoU of an anchor with its box.
    """

    def __init__(self, anchors: np.ndarray, threshold: float = THRESHOLD) -> None:
        # Column after column in memory: every step reads one coordinate of all anchors.
        self.anchors = np.asfortranarray(to_corners(np.asarray(anchors, np.float32)))
        self.areas, self.threshold = _areas(self.anchors), threshold

    def match(self, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
        """For each anchor the index of its box, UNMATCHED or IGNORED: int64 (A,).

        boxes: float32 (n, 4), as corners; n may be 0. crowd: bool (n,), boxes around many objects; no anchor learns them.

        An anchor gets the box that it overlaps most, if their IoU is at least the threshold. In any case a box gets the anchor
        that it overlaps most; the first of several boxes with the same one. Of equal overlaps the first counts. Anchors without
        a box are ignored if at least the threshold's share of their area lies in one crowd box, which is pycocotools'
        measure of detections in crowds.
        """
        boxes, rows = np.asarray(boxes, np.float32), np.flatnonzero(~crowd)
        matches = np.full(len(self.anchors), UNMATCHED, np.int64)
        if len(rows):
            overlaps = iou(boxes[rows], self.anchors)  # (n, A)
            matches = np.where(overlaps.max(axis=0) >= self.threshold, rows[overlaps.argmax(axis=0)], matches)
            best = overlaps.argmax(axis=1)
            reached = np.flatnonzero(overlaps[np.arange(len(rows)), best] > 0)[::-1]  # backwards: the first box is set last
            matches[best[reached]] = rows[reached]
        if len(rows) < len(boxes):
            shares = _intersections(boxes[crowd], self.anchors) / self.areas
            matches[(matches == UNMATCHED) & (shares.max(axis=0) >= self.threshold)] = IGNORED
        return matches


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Shared areas (n, m)."""
    rows, columns = boxes.T[:, :, None], others.T
    heights = np.minimum(rows[2], columns[2])
    heights -= np.maximum(rows[0], columns[0])
    widths = np.minimum(rows[3], columns[3])
    widths -= np.maximum(rows[1], columns[1])
    return np.maximum(heights, 0, out=heights) * np.maximum(widths, 0, out=widths)
