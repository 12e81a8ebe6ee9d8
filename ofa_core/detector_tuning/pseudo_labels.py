"""Pseudo-labels: the boxes that a teacher finds in images without labels, as COCO results.

The students of LPCVC's winner learned from such boxes. COCO's format lets any other teacher write them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ofa_core.detection.metrics import Found
from ofa_core.detectors.design import Design
from ofa_core.detectors.images import BoxImages
from ofa_core.detectors.splits import measured_settings
from ofa_core.images.boxes import BoxSplit
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import SuperNetwork
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.training.evaluation import Evaluator, eval_batch

FIELDS = ("image_id", "category_id", "bbox", "score")
Row = Mapping[str, Any]


def teacher_of(
    net: SuperNetwork, train: BoxSplit, val: BoxSplit, design: Design, resolution: int, bn_images: int, seed: int
) -> float:
    """Makes the largest network active, with statistics of a resolution; returns its average precision on val."""
    evaluator = Evaluator(images_at(train, design, resolution), images_at(val, design, resolution), bn_images, seed)
    return evaluator.subnet_score(net, design.space.largest(resolution))


def images_at(split: BoxSplit, design: Design, resolution: int) -> BoxImages:
    """A split at one resolution, perhaps one that the space does not have."""
    return BoxImages(split, design.anchors, (resolution,), measured_settings(len(split.classes)))


@torch.inference_mode()
def find(net: SuperNetwork, split: BoxSplit, design: Design, resolution: int, min_score: float) -> list[Row]:
    """What the active network finds in the images of a split, as COCO results: rows of `FIELDS`, boxes in pixels.

    min_score: of a detection.
    """
    images, size = images_at(split, design, resolution), eval_batch(resolution)
    rows: list[Row] = []
    with tqdm(total=len(images), desc="teacher", unit="image", mininterval=1) as bar:
        for start in range(0, len(images), size):
            chosen = np.arange(start, min(start + size, len(images)))
            outputs = net.eval()(to_input(images.decoded(resolution, chosen), net.normalization))
            for i, found in zip(chosen.tolist(), images.task.detections(outputs), strict=True):
                rows += _rows(i, found, split.sizes[i], min_score)
            bar.update(len(chosen))
    return rows


def _rows(image: int, found: Found, size: np.ndarray, min_score: float) -> list[dict[str, Any]]:
    height, width = map(float, size)
    rows = []
    for box, label, score in zip(found.boxes.clip(0, 1), found.labels, found.scores, strict=True):
        top, left, bottom, right = (float(side) * length for side, length in zip(box, (height, width) * 2, strict=True))
        if score >= min_score and top < bottom and left < right:
            bbox = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            rows.append({"image_id": image + 1, "category_id": int(label) + 1, "bbox": bbox, "score": round(float(score), 4)})
    return rows


def read_results(path: Path) -> list[Row]:
    """COCO results of a file. Raises InputError, naming file and row, for anything else."""
    rows = files.read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: not a list of COCO results")
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not set(FIELDS) <= row.keys():
            raise InputError(f"{path}: [{i}]: must have {', '.join(FIELDS)}")
    return rows


def labelled(split: BoxSplit, rows: Sequence[Row], min_score: float, where: str) -> BoxSplit:
    """The unlabelled images with these boxes. where: begins errors.

    Images are numbered from 1 in the split's order, categories from 1 in the order of its classes, as in unlabelled.json.
    Raises InputError, naming the row, for an image or a category that is not there, and for a box without area.
    """
    found: dict[int, list[tuple[list[float], int]]] = {}
    for i, row in enumerate(rows):
        image, category = row["image_id"], row["category_id"]
        if image not in range(1, len(split.images) + 1):
            raise InputError(f"{where}: [{i}].image_id: {image}: unlabelled.json has 1 to {len(split.images)}")
        if category not in range(1, len(split.classes) + 1):
            raise InputError(f"{where}: [{i}].category_id: {category}: there are 1 to {len(split.classes)}")
        if row["score"] < min_score:
            continue
        left, top, width, height = row["bbox"]
        side = split.sizes[image - 1].astype(float)
        box = np.clip(np.array([top, left, top + height, left + width]) / (*side, *side), 0, 1)
        if not (box[:2] < box[2:]).all():
            raise InputError(f"{where}: [{i}].bbox: {row['bbox']}: no area in the image")
        found.setdefault(image - 1, []).append((box.tolist(), category - 1))
    boxes, labels = [], []
    for i in range(len(split.images)):
        of_image = found.get(i, [])
        boxes.append(np.array([box for box, _ in of_image], np.float32).reshape(-1, 4))
        labels.append(np.array([label for _, label in of_image], np.int64))
    return split._replace(boxes=boxes, labels=labels, crowd=[np.zeros(len(of), np.bool_) for of in labels])


def counts(split: BoxSplit) -> dict[str, Any]:
    """Images with a box, and boxes kept of each class."""
    kept = Counter(int(label) for labels in split.labels for label in labels)
    return {
        "images": len(split.images),
        "images_with_boxes": sum(len(labels) > 0 for labels in split.labels),
        "boxes": {name: kept[i] for i, name in enumerate(split.classes)},
    }


def with_boxes(split: BoxSplit) -> BoxSplit:
    """Those images in which the teacher found something. It may have missed all there is in the others."""
    kept = [i for i, labels in enumerate(split.labels) if len(labels)]
    return _taken(split, kept)


def joined(first: BoxSplit, second: BoxSplit) -> BoxSplit:
    """Both splits' images, of equal size and classes."""
    return first._replace(
        images=np.concatenate([first.images, second.images]), boxes=first.boxes + second.boxes,
        labels=first.labels + second.labels, crowd=first.crowd + second.crowd,
        sizes=np.concatenate([first.sizes, second.sizes]), names=first.names + second.names,
    )  # fmt: skip


def _taken(split: BoxSplit, kept: Sequence[int]) -> BoxSplit:
    return split._replace(
        images=split.images[list(kept)], boxes=[split.boxes[i] for i in kept], labels=[split.labels[i] for i in kept],
        crowd=[split.crowd[i] for i in kept], sizes=split.sizes[list(kept)], names=tuple(split.names[i] for i in kept),
    )  # fmt: skip
