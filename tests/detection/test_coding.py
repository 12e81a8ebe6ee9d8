"""Encodings of boxes: worked out by hand, and back again."""

import numpy as np

from ofa_core.detection.coding import decode, encode, to_centres, to_corners
from tests.detection.random_boxes import random_boxes
from tests.detection.test_anchors import PUBLISHED


def test_an_encoding_by_hand() -> None:
    anchor, box = np.array([0.5, 0.4, 0.2, 0.1]), to_corners(np.array([0.52, 0.37, 0.4, 0.05]))
    np.testing.assert_allclose(encode(box, anchor), [1.0, -3.0, 5 * np.log(2), -5 * np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(encode(to_corners(anchor), anchor), 0, atol=1e-6)


def test_boxes_come_back() -> None:
    rng, anchors = np.random.default_rng(0), PUBLISHED.boxes()
    boxes = random_boxes(rng, len(anchors))
    found = encode(boxes, anchors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(decode(found, anchors), boxes, atol=2e-6)
    np.testing.assert_allclose(to_corners(to_centres(boxes)), boxes, atol=1e-7)
    # Every box relative to every anchor.
    assert decode(encode(boxes[:3, None], anchors), anchors).shape == (3, 1917, 4)


def test_boxes_are_not_clipped() -> None:
    box = decode(np.array([10.0, 0, 0, 0]), np.array([0.9, 0.5, 0.4, 0.2]))
    np.testing.assert_allclose(box, [1.1, 0.4, 1.5, 0.6], atol=1e-6)
    other = decode(np.array([4.0, 0, 0, 0]), np.array([0.9, 0.5, 0.4, 0.2]), scales=(4.0, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(other, box)
