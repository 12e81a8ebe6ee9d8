"""Forms of boxes: corners, centres, and encodings relative to anchors.

corners    ymin, xmin, ymax, xmax, in 0..1 of the image's height and width
centres    y, x, h, w, in the same unit; the form of anchors
encodings  ty, tx, th, tw, what a network predicts: the box coder of Ren et al. 2015, equation 2
           (https://arxiv.org/abs/1506.01497), with the scales of TensorFlow's SSD configurations
"""

import numpy as np

CENTRE_SCALE = 10.0
"""`y_scale` and `x_scale` of `faster_rcnn_box_coder` in TensorFlow's ssd_mobilenet_v2 configurations."""
SIZE_SCALE = 5.0
"""`height_scale` and `width_scale` there."""
SCALES = (CENTRE_SCALE, CENTRE_SCALE, SIZE_SCALE, SIZE_SCALE)
"""Of ty, tx, th, tw."""


def to_corners(centres: np.ndarray) -> np.ndarray:
    """(..., 4) y, x, h, w to (..., 4) ymin, xmin, ymax, xmax."""
    middle, half = centres[..., :2], centres[..., 2:] / 2
    return np.concatenate([middle - half, middle + half], axis=-1)


def to_centres(corners: np.ndarray) -> np.ndarray:
    """(..., 4) ymin, xmin, ymax, xmax to (..., 4) y, x, h, w."""
    low, high = corners[..., :2], corners[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def encode(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Encodings float32 (..., 4) of boxes (..., 4), as corners, each relative to its anchor (..., 4).

    Boxes and anchors must have a height and a width above 0.
    """
    found, anchors = to_centres(np.asarray(boxes, np.float64)), np.asarray(anchors, np.float64)
    moved = (found[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    resized = np.log(found[..., 2:] / anchors[..., 2:])
    return (np.concatenate([moved, resized], axis=-1) * SCALES).astype(np.float32)


def decode(encodings: np.ndarray, anchors: np.ndarray, scales: tuple[float, float, float, float] = SCALES) -> np.ndarray:
    """Boxes float32 (..., 4), as corners and not clipped, of encodings (..., 4), each relative to its anchor (..., 4).

    Rounds as `DecodeCenterSizeBoxes` of TensorFlow's lite/kernels/detection_postprocess.cc does: computes in float64, rounds
    centre and half size to float32, then adds them.
    """
    steps, anchors = np.asarray(encodings, np.float64) / scales, np.asarray(anchors, np.float64)
    middle = (steps[..., :2] * anchors[..., 2:] + anchors[..., :2]).astype(np.float32)
    half = (0.5 * np.exp(steps[..., 2:]) * anchors[..., 2:]).astype(np.float32)
    return np.concatenate([middle - half, middle + half], axis=-1)
