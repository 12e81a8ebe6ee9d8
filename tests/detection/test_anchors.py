"""SSD's anchors: their number, their order, and boxes worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from ofa_core.detection.anchors import SSDAnchors
from ofa_core.detection.coding import to_corners

PUBLISHED = SSDAnchors(
    grids=(19, 10, 5, 3, 2, 1),
    min_scale=0.2,
    max_scale=0.95,
    aspect_ratios=(1.0, 2.0, 1 / 2, 3.0, 1 / 3),
    reduce_lowest=True,
    clip=True,
)
"""Of the SSD-MobileNetV2 at 300 pixels."""


def test_the_published_detector_has_1917() -> None:
    assert PUBLISHED.per_position == (3, 6, 6, 6, 6, 6)
    assert PUBLISHED.count == 1917
    boxes = PUBLISHED.boxes()
    assert boxes.shape == (1917, 4)
    assert boxes.dtype == np.float32
    assert replace(PUBLISHED, reduce_lowest=False).per_position == (6,) * 6


def test_boxes_by_hand() -> None:
    """Of the map of 10 positions, scale 0.35: the square root of 2 is 1.414214, that of 0.35 * 0.5 is 0.418330."""
    boxes = replace(PUBLISHED, clip=False).boxes()
    lowest = [[0.1, 0.1], [0.141421, 0.282843], [0.282843, 0.141421]]
    np.testing.assert_allclose(boxes[:3], [[1 / 38, 1 / 38, h, w] for h, w in lowest], atol=1e-6)
    np.testing.assert_allclose(boxes[3], [1 / 38, 3 / 38, 0.1, 0.1], atol=1e-6)  # one to the right
    np.testing.assert_allclose(boxes[19 * 3], [3 / 38, 1 / 38, 0.1, 0.1], atol=1e-6)  # one down
    second = [
        [0.35, 0.35],
        [0.247487, 0.494975],
        [0.494975, 0.247487],
        [0.202073, 0.606218],
        [0.606218, 0.202073],
        [0.418330, 0.418330],
    ]
    np.testing.assert_allclose(boxes[1083:1089], [[0.05, 0.05, h, w] for h, w in second], atol=1e-6)
    np.testing.assert_allclose(boxes[-1], [0.5, 0.5, 0.974679, 0.974679], atol=1e-6)  # the root of 0.95 * 1
    np.testing.assert_allclose(boxes[-6], [0.5, 0.5, 0.95, 0.95], atol=1e-6)


def test_clipping_moves_the_centre() -> None:
    boxes = PUBLISHED.boxes()
    bottom = 1 / 38 + 0.05  # the first box reaches from 0 to here
    np.testing.assert_allclose(boxes[0], [bottom / 2, bottom / 2, bottom, bottom], atol=1e-6)
    corners = to_corners(boxes)
    assert corners.min() >= 0
    assert corners.max() <= 1
    whole = replace(PUBLISHED, clip=False).boxes()
    inside = (to_corners(whole) >= 0).all(axis=1) & (to_corners(whole) <= 1).all(axis=1)
    assert 500 < inside.sum() < 1500
    np.testing.assert_array_equal(boxes[inside], whole[inside])


def test_the_order_is_that_of_a_channels_last_head() -> None:
    """A head that writes its position and the number of the anchor into its channels, reshaped."""
    anchors = SSDAnchors(grids=(3,), min_scale=0.3, max_scale=0.9, aspect_ratios=(1.0, 2.0), reduce_lowest=False, clip=False)
    [k] = anchors.per_position
    head = np.empty((3, 3, k, 4))
    for y, x, i in np.ndindex(3, 3, k):
        h, w = [(0.3, 0.3), (0.3 / 2**0.5, 0.3 * 2**0.5), (0.3**0.5, 0.3**0.5)][i]
        head[y, x, i] = (y + 0.5) / 3, (x + 0.5) / 3, h, w
    np.testing.assert_allclose(anchors.boxes(), head.reshape(3, 3, k * 4).reshape(-1, 4), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grids": ()}, r"grids: \[\]: must be one or more"),
        ({"grids": (3, 0)}, r"grids: \[3, 0\]: must be one or more"),
        ({"min_scale": 0.0}, r"min_scale, max_scale: 0.0, 0.95: must rise"),
        ({"max_scale": 0.1}, r"min_scale, max_scale: 0.2, 0.1: must rise"),
        ({"aspect_ratios": (1.0, -1.0)}, r"aspect_ratios: \[1.0, -1.0\]: must be one or more"),
    ],
)
def test_values_that_give_no_anchors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(PUBLISHED, **changes)  # type: ignore[arg-type]
