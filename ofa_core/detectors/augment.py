"""Augmentation of images with boxes: SSD's random crops, mirroring, and the colour jitter of classification.

SSD, section 2.2 ("Data augmentation"), with the numbers of TensorFlow's `ssd_random_crop`
(object_detection/core/preprocessor.py): a crop covers a least share of some box, and keeps the boxes whose centre is in it.
"""

from typing import NamedTuple

import numpy as np

COVERED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Least share of a box that a crop must hold; one of them is drawn for each image."""
AREA = (0.1, 1.0)
"""Range of a crop's share of the image."""
ASPECT = (0.75, 3.0)
"""Range of a crop's width over its height."""
TRIES = 50
"""Draws of a crop; the whole image if none holds a box."""
WHOLE_PROBABILITY = 1 / (len(COVERED) + 1)
"""Of leaving the image as it is."""


class View(NamedTuple):
    """How an image is seen. crop: top, left, height, width in pixels. mirrored: after cropping, left to right."""

    crop: tuple[int, int, int, int]
    mirrored: bool


def draw_view(rng: np.random.Generator, boxes: np.ndarray, side: int, cropped: bool, mirrored: bool) -> View:
    """A random view of an image of side x side pixels with boxes (n, 4), as corners. cropped, mirrored: whether it may be."""
    flipped = bool(rng.random() < 0.5) if mirrored else False
    whole = View((0, 0, side, side), flipped)
    if not cropped or rng.random() < WHOLE_PROBABILITY:
        return whole
    least = rng.choice(COVERED)
    for _ in range(TRIES):
        area, ratio = rng.uniform(*AREA), rng.uniform(*ASPECT)
        height, width = round(side * (area / ratio) ** 0.5), round(side * (area * ratio) ** 0.5)
        if not 1 <= height <= side or not 1 <= width <= side:
            continue
        crop = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1)), height, width
        if not len(boxes) or (_covered(boxes * side, crop) >= least)[_centred(boxes * side, crop)].any():
            return View(crop, flipped)
    return whole


def seen(boxes: np.ndarray, view: View, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (m, 4) of a view, in shares of it, and which of the image's boxes (n, 4) they are, bool (n,)."""
    top, left, height, width = view.crop
    kept = _centred(boxes * side, view.crop)
    found = (boxes[kept] * side - (top, left, top, left)) / (height, width, height, width)
    found = found.clip(0, 1).astype(np.float32)
    if view.mirrored:
        found[:, 1], found[:, 3] = 1 - found[:, 3], 1 - found[:, 1]
    return found, kept


def _centred(boxes: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    """Whether the centres of boxes (n, 4), in pixels, are in a crop."""
    top, left, height, width = crop
    y, x = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return (y > top) & (y < top + height) & (x > left) & (x < left + width)


def _covered(boxes: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    """The shares (n,) of the areas of boxes (n, 4), in pixels, that are in a crop."""
    top, left, height, width = crop
    heights = np.minimum(boxes[:, 2], top + height) - np.maximum(boxes[:, 0], top)
    widths = np.minimum(boxes[:, 3], left + width) - np.maximum(boxes[:, 1], left)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return heights.clip(0) * widths.clip(0) / areas
