"""Images with boxes as one .npz file whose bytes depend only on its content, split into train, unlabelled, val and test.

Boxes of all images of a split are one array, in the order of the images; a second one has the number of boxes of each image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ofa_core.images.npz import reading_arrays, write_arrays
from ofa_core.run.errors import InputError

BOX_SPLITS = ("train", "unlabelled", "val", "test")
"""unlabelled has images without known boxes, and may be empty."""


class BoxSplit(NamedTuple):
    """N images of S x S pixels, stretched to squares, and their boxes; image i has n_i of them, perhaps none.

    images: uint8 (N, S, S, C), C = 1 or 3.
    boxes: N arrays float32 (n_i, 4): ymin, xmin, ymax, xmax as shares, 0..1, of the image's height and width.
    labels: N arrays int64 (n_i,), indices into classes.
    crowd: N arrays bool (n_i,): boxes around groups, or boxes hard to see. Finding one is neither right nor wrong.
    sizes: int64 (N, 2), height and width in pixels of the images before they were stretched.
    names: of the image files in their folder, or of scenes.
    """

    images: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    crowd: list[np.ndarray]
    sizes: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]


def pack_boxes(path: str | Path, splits: Mapping[str, BoxSplit]) -> None:
    """Writes the splits train, unlabelled, val and test, which have equal classes.

    Raises InputError, naming the split, for wrong shapes, types, boxes or labels, or for boxes in unlabelled.
    """
    if set(splits) != set(BOX_SPLITS):
        raise InputError(f"splits: {', '.join(sorted(splits))}; they must be {', '.join(BOX_SPLITS)}")
    classes = splits["train"].classes
    arrays = {"classes": np.array(list(classes), dtype=np.str_)}
    for name in BOX_SPLITS:
        split = splits[name]
        _check(name, split, classes)
        arrays |= {
            f"{name}_images": split.images,
            f"{name}_boxes": np.concatenate([np.zeros((0, 4), np.float32), *split.boxes]),
            f"{name}_labels": np.concatenate([np.zeros(0, np.int64), *split.labels]),
            f"{name}_crowd": np.concatenate([np.zeros(0, np.bool_), *split.crowd]),
            f"{name}_counts": np.array([len(boxes) for boxes in split.boxes], dtype=np.int64),
            f"{name}_sizes": split.sizes,
            f"{name}_names": np.array(list(split.names), dtype=np.str_),
        }
    write_arrays(path, arrays)


def load_boxes(path: str | Path, split: str) -> BoxSplit:
    """Reads one split of a packed file; the others stay on disk. Raises InputError that names the file or the split."""
    if split not in BOX_SPLITS:
        raise InputError(f"split: {split!r} is not one of {', '.join(BOX_SPLITS)}")
    with reading_arrays(path) as archive:
        images, sizes = archive[f"{split}_images"], archive[f"{split}_sizes"]
        names, classes = (tuple(archive[key].tolist()) for key in (f"{split}_names", "classes"))
        ends = np.cumsum(archive[f"{split}_counts"])[:-1]
        # np.split makes one part of no ends; a split without images has none.
        boxes, labels, crowd = (
            np.split(archive[f"{split}_{key}"], ends)[: len(images)] for key in ("boxes", "labels", "crowd")
        )
    return BoxSplit(images, boxes, labels, crowd, sizes, names, classes)


def _check(name: str, split: BoxSplit, classes: tuple[str, ...]) -> None:
    images, count = split.images, len(split.images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] not in (1, 3):
        raise InputError(f"{name}: images are {images.dtype} {images.shape}, not uint8 (N, S, S, 1 or 3)")
    if split.sizes.shape != (count, 2) or split.sizes.dtype != np.int64:
        raise InputError(f"{name}: sizes are {split.sizes.dtype} {split.sizes.shape}, not int64 ({count}, 2)")
    if split.classes != classes:
        raise InputError(f"{name}: classes are {', '.join(split.classes)}; those of train are {', '.join(classes)}")
    for field in ("boxes", "labels", "crowd", "names"):
        if len(getattr(split, field)) != count:
            raise InputError(f"{name}: {field} of {len(getattr(split, field))} images; there are {count}")
    for i, (boxes, labels, crowd) in enumerate(zip(split.boxes, split.labels, split.crowd, strict=True)):
        fault = _fault(boxes, labels, crowd, len(classes))
        if name == "unlabelled" and len(boxes):
            fault = f"it has {len(boxes)} boxes, and must have none"
        if fault:
            raise InputError(f"{name}: image {i}, {split.names[i]}: {fault}")


def _fault(boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray, classes: int) -> str:
    """What is wrong with the boxes of an image; "" if nothing is."""
    if boxes.dtype != np.float32 or boxes.ndim != 2 or boxes.shape[1] != 4:
        return f"boxes are {boxes.dtype} {boxes.shape}, not float32 (n, 4)"
    if labels.dtype != np.int64 or crowd.dtype != np.bool_ or not labels.shape == crowd.shape == boxes.shape[:1]:
        shapes = f"{labels.dtype} {labels.shape} and {crowd.dtype} {crowd.shape}"
        return f"labels and crowd are {shapes}, not int64 and bool ({len(boxes)},)"
    if not ((boxes >= 0) & (boxes <= 1)).all() or not (boxes[:, :2] < boxes[:, 2:]).all():
        return "a box is not ymin < ymax, xmin < xmax within 0..1"
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        return f"labels range from {labels.min()} to {labels.max()}; there are {classes} classes"
    return ""
