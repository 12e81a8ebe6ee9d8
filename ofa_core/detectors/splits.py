"""The splits of a packed data set with boxes, as training and measurements use them."""

from pathlib import Path

from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detectors.design import Design
from ofa_core.detectors.images import BoxImages
from ofa_core.images.boxes import BoxSplit, load_boxes
from ofa_core.training.evaluation import Evaluator

SCORE_THRESHOLD, IOU_THRESHOLD = 0.01, 0.6
"""Of the detections by which networks are compared before they are exported; those of TensorFlow's ssd_mobilenet_v2 are
1e-8 and 0.6. Lower thresholds change average precision by less than its error, and cost time."""


def measured_settings(num_classes: int) -> PostprocessSettings:
    """How detections are chosen where networks are compared: class by class."""
    return PostprocessSettings(
        num_classes=num_classes, score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD, use_regular_nms=True
    )


def box_images(split: BoxSplit, design: Design) -> BoxImages:
    """A split for all resolutions of a space."""
    return BoxImages(split, design.anchors, design.space.resolutions, measured_settings(len(split.classes)))


def load_evaluator(dataset: Path, design: Design, bn_images: int, seed: int) -> Evaluator:
    """Measures sub-networks on val, with statistics from train."""
    train, val = (box_images(load_boxes(dataset, name), design) for name in ("train", "val"))
    return Evaluator(train, val, bn_images, seed)
