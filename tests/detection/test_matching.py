"""Matching of anchors and boxes: against plain loops, and each rule by itself."""

import time

import numpy as np
import pytest

from ofa_core.detection.coding import to_centres, to_corners
from ofa_core.detection.matching import IGNORED, UNMATCHED, Matcher, iou
from tests.detection.random_boxes import random_boxes
from tests.detection.test_anchors import PUBLISHED

ANCHORS = PUBLISHED.boxes()


def shared(a: np.ndarray, b: np.ndarray) -> np.float32:
    height = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
    return height * max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))


def area(a: np.ndarray) -> np.float32:
    return (a[2] - a[0]) * (a[3] - a[1])


def overlap(a: np.ndarray, b: np.ndarray) -> np.float32:
    return shared(a, b) / (area(a) + area(b) - shared(a, b))


def by_loops(boxes: np.ndarray, crowd: np.ndarray, anchors: np.ndarray, threshold: float) -> list[int]:
    """The matches, one anchor and one box at a time."""
    alone = [i for i in range(len(boxes)) if not crowd[i]]
    matches = []
    for anchor in anchors:
        best = max(alone, key=lambda i: overlap(boxes[i], anchor), default=None)
        found = best is not None and overlap(boxes[best], anchor) >= threshold
        matches.append(best if found else UNMATCHED)
    forced: set[int] = set()
    for i in alone:
        j = max(range(len(anchors)), key=lambda j: overlap(boxes[i], anchors[j]))
        if overlap(boxes[i], anchors[j]) > 0 and j not in forced:
            matches[j] = i
            forced.add(j)
    for j, anchor in enumerate(anchors):
        lies = [shared(boxes[i], anchor) / area(anchor) for i in range(len(boxes)) if crowd[i]]
        if matches[j] == UNMATCHED and max(lies, default=0) >= threshold:
            matches[j] = IGNORED
    return matches


@pytest.mark.parametrize("seed", range(6))
def test_matches_are_those_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors = ANCHORS[rng.permutation(1917)[:300]]
    boxes = random_boxes(rng, (0, 1, 3, 8, 20, 40)[seed])
    crowd = rng.random(len(boxes)) < 0.25
    found = Matcher(anchors, 0.4).match(boxes, crowd)
    assert found.dtype == np.int64
    assert found.tolist() == by_loops(boxes, crowd, to_corners(anchors), 0.4)
    if seed == 5:
        assert {UNMATCHED, IGNORED} < set(found.tolist())
        assert not set(np.flatnonzero(crowd)) & set(found.tolist())


def test_iou_by_hand() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.8]], np.float32)
    others = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5], [0.5, 0, 1, 0.5], [0.2, 0.2, 0.2, 0.8]], np.float32)
    np.testing.assert_allclose(iou(boxes, others), [[1, 1 / 3, 0, 0], [0, 0, 0, 0]], atol=1e-7)
    assert iou(boxes[:0], others).shape == (0, 4)


def test_every_box_gets_its_best_anchor() -> None:
    """Small boxes, which no anchor overlaps by the threshold."""
    boxes = random_boxes(np.random.default_rng(1), 12, 0.01, 0.04)
    overlaps = iou(boxes, to_corners(ANCHORS))
    assert overlaps.max() < 0.5
    matches, none = Matcher(ANCHORS).match(boxes, np.zeros(12, bool)), np.zeros(0, bool)
    best = overlaps.argmax(axis=1)
    assert len(set(best)) == 12
    assert matches[best].tolist() == list(range(12))
    assert (np.delete(matches, best) == UNMATCHED).all()
    assert (Matcher(ANCHORS).match(boxes[:0], none) == UNMATCHED).all()


def test_a_forced_match_replaces_a_better_one() -> None:
    """The anchor overlaps the first box more, but is all that the second one has. Of two such boxes the first gets it."""
    anchors = to_centres(np.array([[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.5], [0.8, 0.8, 0.9, 0.9]], np.float32))
    first, second, third = [0, 0, 0.4, 0.44], [0, 0, 0.3, 0.3], [0, 0, 0.2, 0.2]
    boxes = np.array([first, second, third], np.float32)
    assert iou(boxes, to_corners(anchors))[0, 0] > iou(boxes, to_corners(anchors))[1, 0]
    assert Matcher(anchors).match(boxes[:1], np.zeros(1, bool)).tolist() == [0, 0, UNMATCHED]
    assert Matcher(anchors).match(boxes[1:], np.zeros(2, bool)).tolist() == [0, UNMATCHED, UNMATCHED]
    # The first box has its best anchor too, which is why it keeps that one against the others.
    assert Matcher(anchors).match(boxes, np.zeros(3, bool)).tolist() == [0, 0, UNMATCHED]
    assert Matcher(anchors).match(boxes[[1, 0]], np.zeros(2, bool)).tolist() == [0, 1, UNMATCHED]
    outside = np.array([[0.5, 0.5, 0.6, 0.6]], np.float32)
    assert (Matcher(anchors).match(outside, np.zeros(1, bool)) == UNMATCHED).all()


def test_crowds_hide_anchors_but_no_matches() -> None:
    crowd = np.array([[0, 0, 1, 0.5]], np.float32)
    corners = to_corners(ANCHORS)
    matches = Matcher(ANCHORS).match(crowd, np.ones(1, bool))
    inside = (np.minimum(corners[:, 3], 0.5) - corners[:, 1]) / (corners[:, 3] - corners[:, 1])
    clear = np.abs(inside - 0.5) > 1e-5
    assert (matches[clear] == np.where(inside > 0.5, IGNORED, UNMATCHED)[clear]).all()
    box = np.array([[0.1, 0.1, 0.4, 0.4]], np.float32)
    both = Matcher(ANCHORS).match(np.concatenate([crowd, box]), np.array([True, False]))
    alone = Matcher(ANCHORS).match(box, np.zeros(1, bool))
    assert (both[alone == 0] == 1).all()
    assert (both[alone == UNMATCHED] == matches[alone == UNMATCHED]).all()


def test_matching_is_fast() -> None:
    """A batch's share of a training step: an image of 8 boxes takes well under 5 ms."""
    matcher, boxes = Matcher(ANCHORS), random_boxes(np.random.default_rng(0), 8)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        matcher.match(boxes, np.zeros(8, bool))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005
