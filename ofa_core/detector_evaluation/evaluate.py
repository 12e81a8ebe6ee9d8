"""The final evaluation of a detector: average precision on test, latency with and without its operator, and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detector_export.operator import append_postprocess
from ofa_core.images.boxes import BoxSplit
from ofa_core.images.resize import resize, to_rgb
from ofa_core.runtime.detector import TFLiteDetector
from ofa_core.runtime.on_images import time_detector
from ofa_core.sheets.boxes import DrawnBox, draw_boxes
from ofa_core.tasks.detection import Detection

TASK = Detection()
SHOWN, COLUMNS, SIDE = 16, 4, 288
"""Images of a sheet, images of a row, and pixels of an image there."""
LEAST_SHOWN = 0.3
"""Score from which boxes are drawn."""


def scores(content: bytes, split: BoxSplit, resolution: int, mean: float = 127.5, std: float = 127.5) -> dict[str, Any]:
    """The task's scores of a finished file on a split. mean, std: of a float file's input."""
    images = to_rgb(resize(split.images, resolution))
    answers = TASK.answers(TASK.named(*TFLiteDetector(content, mean=mean, std=std).predict(images)))
    return TASK.score(answers, split)


def latency(content: bytes, network: bytes, split: BoxSplit, resolution: int, count: int) -> dict[str, float]:
    """Milliseconds of the uint8 file on `count` images of a split, of its network alone, and of the operator."""
    images = to_rgb(resize(split.images[:count], resolution))
    return time_detector(content, network, images)._asdict()


def thresholds(
    network: bytes, anchors: np.ndarray, settings: PostprocessSettings, split: BoxSplit, least: Sequence[float], count: int
) -> list[dict[str, Any]]:
    """Average precision and latency by suppression and score threshold: one row each.

    network: the uint8 file before the operator. count: images of the split on which latency is measured.
    """
    rows = []
    for regular in (True, False):
        for threshold in least:
            tried = replace(settings, use_regular_nms=regular, score_threshold=threshold)
            content = append_postprocess(network, anchors, tried)
            resolution = TFLiteDetector(content).size[0]
            found, times = scores(content, split, resolution), latency(content, network, split, resolution, count)
            rows.append(
                {"suppression": "regular" if regular else "fast", "score_threshold": threshold}
                | {key: found[key] for key in ("map", "ap50")}
                | times
            )
    return rows


def sheet(content: bytes, split: BoxSplit, resolution: int) -> Image.Image:
    """The first images of a split with what the file finds in them."""
    images, names = to_rgb(split.images[:SHOWN]), split.classes
    outputs = TASK.named(*TFLiteDetector(content).predict(resize(images, resolution)))
    rows = -(-len(images) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * SIDE, rows * SIDE), "white")
    for i, (pixels, found) in enumerate(zip(images, TASK.found(TASK.answers(outputs)), strict=True)):
        boxes = [
            DrawnBox(box, int(label), f"{names[label]} {score:.0%}")
            for box, label, score in zip(found.boxes.tolist(), found.labels, found.scores, strict=True)
            if score >= LEAST_SHOWN
        ]
        large = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        canvas.paste(draw_boxes(large, boxes), (i % COLUMNS * SIDE, i // COLUMNS * SIDE))
    return canvas


def released_metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the release says of a detector: the report's single values."""
    return {key: value for key, value in report.items() if not isinstance(value, dict | list)}
