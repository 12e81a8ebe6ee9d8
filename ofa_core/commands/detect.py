"""A TFLite detector on image files: the work of `ofa eval` and `ofa predict`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ofa_core.commands.released import labels_path, preprocessing, read_labels, readable
from ofa_core.datasets.annotations import Annotated, Annotations
from ofa_core.datasets.box_images import framed, place
from ofa_core.datasets.detection import READERS, format_of
from ofa_core.images.decode import decode
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError
from ofa_core.runtime.detector import TFLiteDetector, class_count
from ofa_core.sheets.boxes import DrawnBox, draw_boxes
from ofa_core.tasks.detection import Detection
from ofa_core.tasks.task import Outputs

MOST_CLASSES = 1000
"""Of a model that does not say how many it has, and has no labels."""


class Truth(NamedTuple):
    """What is in the images, as `detection.metrics.Truth` has it."""

    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    crowd: list[np.ndarray]
    sizes: np.ndarray
    classes: tuple[str, ...]


class Detector:
    """A TFLite detector with the files next to it: labels (ID.labels.txt) and preprocessing (entry in manifest.json).

    path: of ID.tflite or ID_float.tflite. threads: of the interpreter. `names` are those of the classes; their numbers if
    there are no labels.

    Raises InputError, one line, if the file is missing or not a TFLite detector, or if the labels do not fit it.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path, self.task = path, Detection()
        rule = preprocessing(path, self.task)
        with readable(path):
            self.model = TFLiteDetector(path, threads, rule.get("mean", 127.5), rule.get("std", 127.5))
        self.labels_path, self.labels, self.classes = labels_path(path), read_labels(path), class_count(path.read_bytes())
        if self.labels is not None and self.classes not in (None, len(self.labels)):
            raise InputError(f"{self.labels_path}: {len(self.labels)} labels, the model has {self.classes} classes")
        self.names = self.labels or [str(i) for i in range(self.classes or MOST_CLASSES)]

    def outputs(self, image: Image.Image) -> Outputs:
        """Those for one RGB image: the whole of it, stretched to the size of the input as in training, without bars.

        Raises InputError for a class that has no label.
        """
        height, width = self.model.size
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        outputs = self.task.named(*self.model.predict(pixels[None]))
        [found] = self.task.found(self.task.answers(outputs))
        if len(found.labels) and not 0 <= found.labels.min() <= found.labels.max() < len(self.names):
            known = (
                f"{self.labels_path}: {len(self.names)} labels" if self.labels else f"{self.path}: {len(self.names)} classes"
            )
            raise InputError(f"{known}, but the model found class {found.labels.max()}, counted from 0")
        return outputs

    def predict(self, image: Path, min_score: float) -> tuple[Image.Image, dict[str, Any]]:
        """The decoded image, upright, and the task's report on it, of detections with at least this score (0..1).

        Raises InputError that names the image.
        """
        try:
            decoded = decode(image.read_bytes())
        except (InputError, OSError) as error:
            raise InputError(f"{image}: {getattr(error, 'strerror', None) or error}") from None
        boxes = self.task.report(self.outputs(decoded), self.names)["boxes"]
        return decoded, {"boxes": [row for row in boxes if row["score"] >= min_score]}


def drawn(image: Image.Image, report: Mapping[str, Any]) -> Image.Image:
    """A copy of an image with the boxes of the task's report, and the name and score of each."""
    boxes = [DrawnBox(row["box"], row["index"], f"{row['label']} {row['score']:.0%}") for row in report["boxes"]]
    return draw_boxes(image, boxes)


def targets(images: Sequence[Path], out: Path) -> list[Path]:
    """Where the drawn images go: PNG files named like the images.

    Raises InputError if two of them have one name, or if one would replace an image.
    """
    found: dict[Path, Path] = {}
    for image in images:
        target = out / f"{image.stem}.png"
        if target in found:
            raise InputError(f"--out: {found[target]} and {image} would both become {target}")
        if any(target.resolve() == other.resolve() for other in images):
            raise InputError(f"--out: {target} is one of the images; name another folder")
        found[target] = image
    return list(found)


def evaluate(detector: Detector, data: Path, split: str = "test") -> dict[str, Any]:
    """The task's scores (0..1) of a detector on annotated images, and the number of images.

    data: a folder or .zip archive of COCO or Pascal VOC. If it has several splits, `split` is used.

    Classes are matched by name. If the labels name none of COCO's categories, or there are no labels, a class is the category's
    id less 1, as in the contract of OVIC and LPCVC. VOC's classes without labels are in alphabetical order.

    Raises InputError, one line: no images, a broken image, a class that the model does not have.
    """
    import_module("pycocotools.cocoeval")  # if it is missing, say so now and not after the last image
    with Tree(data) as tree:
        annotations = READERS[format_of(tree)](tree)
        used, images = _split(tree, annotations, split)
        numbers = _numbers(tree, annotations, detector)
        answers, placed, sizes = [], [], []
        for one in tqdm(images, desc=detector.path.name, unit="image", mininterval=1):
            image = _decoded(tree, one)
            sizes.append((image.height, image.width))
            placed.append(place(one, sizes[-1], numbers, Counter()))
            answers.append(detector.task.answers(detector.outputs(image)))
    boxes, labels, crowd = map(list, zip(*placed, strict=True))
    truth = Truth(boxes, labels, crowd, np.array(sizes), tuple(detector.names))
    scores = detector.task.score(np.concatenate(answers), truth)
    scores["map_by_class"] = {name: value for name, value in scores["map_by_class"].items() if value is not None}
    return {"split": used, "images": len(images)} | scores


def by_class(scores: Mapping[str, Any]) -> list[str]:
    """A line for each class that the images show."""
    return [f"{value:7.2%}  {name}" for name, value in scores["map_by_class"].items()]


def _split(tree: Tree, annotations: Annotations, split: str) -> tuple[str, list[Annotated]]:
    """The name and the images of the split to use."""
    splits = {name: images for name, images in annotations.splits.items() if images}
    if not splits:
        raise InputError(f"{tree.path}: no images in its annotations")
    if len(splits) > 1 and split not in splits:
        raise InputError(f"{tree.path}: no {split} in it, but {', '.join(splits)}; --split tells which to use")
    used = split if split in splits else next(iter(splits))
    return used, splits[used]


def _numbers(tree: Tree, annotations: Annotations, detector: Detector) -> dict[str, int]:
    """The model's class by the data's name of it."""
    names, ids, labels = annotations.classes, annotations.ids, detector.labels
    if labels is not None and (ids is None or set(names) & set(labels)):
        if unknown := [name for name in names if name not in labels]:
            raise InputError(f"{tree.path}: {unknown[0]} is not a class of {detector.labels_path}")
        return {name: labels.index(name) for name in names}
    if ids is not None:
        for name, number in zip(names, ids, strict=True):
            if not 1 <= number <= len(detector.names):
                needed = f"the model has {len(detector.names)} classes and {detector.labels_path.name} does not name it"
                raise InputError(f"{tree.path}: the id of category {name} is {number}; {needed}")
        return {name: number - 1 for name, number in zip(names, ids, strict=True)}
    if detector.classes not in (None, len(names)):
        needed = f"the model has {detector.classes} and no {detector.labels_path.name}"
        raise InputError(f"{tree.path}: {len(names)} classes, {needed}")
    return {name: number for number, name in enumerate(names)}


def _decoded(tree: Tree, one: Annotated) -> Image.Image:
    try:
        return framed(tree.read(one.image), one.size)
    except InputError as error:
        raise InputError(f"{tree.full(one.image)}: {error}") from None
