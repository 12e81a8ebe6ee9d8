"""A TFLite classifier on image files: the work of `ofa eval`, `ofa predict` and `ofa bench`."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa_core.commands.released import labels_path, preprocessing, read_labels, readable
from ofa_core.datasets.folders import ALL, find
from ofa_core.images.decode import centre, decode
from ofa_core.images.preprocess import preprocess
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError
from ofa_core.runtime.device_record import device_name, host_device
from ofa_core.runtime.host import time_model
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.tasks.registry import get_task

BATCH = 256
"""Images decoded and run together; no more are in memory at once."""
INSTANCES = 5
"""Fresh interpreters of a benchmark."""
LABELS = "labels.csv"
INDEX = "imagenet_class_index"


class Classifier:
    """A TFLite classifier with the files next to it: labels (ID.labels.txt) and preprocessing (entry in manifest.json).

    path: of ID.tflite or ID_float.tflite. threads: of the interpreter.
    shorter_side: resize the shorter side of images to this many pixels and crop the centre, regardless of the manifest. None:
    the manifest's preprocessing or, without a manifest, resizing to the model's size.

    Raises InputError, one line, if the file is missing or not a TFLite classifier, or if the labels do not fit its outputs.
    """

    def __init__(self, path: Path, threads: int = 1, shorter_side: int | None = None) -> None:
        self.path, self.task = path, get_task("classification")
        self.rule = preprocessing(path, self.task)
        with readable(path):
            self.model = TFLiteModel(path, threads, self.rule.get("mean", 127.5), self.rule.get("std", 127.5))
        self.outputs = int(self.model.output_details["shape"][1])
        self.labels_path, self.labels = labels_path(path), read_labels(path)
        if self.labels is not None and len(self.labels) != self.outputs:
            raise InputError(f"{self.labels_path}: {len(self.labels)} labels, the model has {self.outputs} outputs")
        if shorter_side is not None and shorter_side < max(self.model.size):
            raise InputError(f"--shorter-side: {shorter_side} is less than the model's {max(self.model.size)} pixels")
        self.shorter_side = shorter_side

    def pixels(self, content: bytes) -> np.ndarray:
        """The model's input for an image file's content, uint8 (h, w, 3). Raises InputError, the reason, if it is broken."""
        if self.shorter_side:
            return np.asarray(centre(decode(content), self.shorter_side, self.model.size))
        return preprocess(content, {"resize_to": self.model.size} | self.rule)

    def predict(self, image: Path) -> dict[str, Any]:
        """The task's report on an image file. Without labels, classes are named by their indices.

        Raises InputError that names the image.
        """
        try:
            outputs = self.task.named(self.model.predict(self.pixels(image.read_bytes())[None]))
        except (InputError, OSError) as error:
            raise InputError(f"{image}: {getattr(error, 'strerror', None) or error}") from None
        return self.task.report(outputs, self.labels or [str(i) for i in range(self.outputs)])


def evaluate(classifier: Classifier, data: Path, split: str = "test") -> dict[str, Any]:
    """The task's scores (0..1) of a classifier on labelled image files, and the number of images.

    data: a folder or .zip archive of class folders; or of train/, val/ and test/ with class folders, of which `split` is used;
    or of images/ and labels.csv with the columns file and label (or imagenet_class_index).

    Raises InputError, one line: no images, a broken image, a label that the model does not have.
    """
    with Tree(data) as tree:
        names, labels, used = _labelled(tree, classifier, split)
        answers = []
        with tqdm(total=len(names), desc=classifier.path.name, unit="image", mininterval=1) as bar:
            for i in range(0, len(names), BATCH):
                images = np.stack([_pixels(tree, name, classifier) for name in names[i : i + BATCH]])  # (n, h, w, 3)
                answers.append(classifier.task.answers(classifier.task.named(classifier.model.predict(images))))
                bar.update(len(images))
    return {"split": used, "images": len(names)} | classifier.task.score(np.concatenate(answers), labels)


def benchmark(path: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Latency of a TFLite file on this machine: median and spread in ms over `INSTANCES` interpreters, and the device.

    seconds: of timed runs in total. Raises InputError for bad arguments and for a file that is missing or not a TFLite model.
    """
    if threads < 1:
        raise InputError(f"--threads: {threads} is less than 1")
    if not 0 < seconds <= 3600:
        raise InputError(f"--seconds: {seconds} is not above 0 and at most 3600")
    with readable(path):
        timing = time_model(path, threads, INSTANCES, seconds / INSTANCES)
    found = {"latency_ms": timing.median_ms, "latency_spread_ms": timing.spread_ms, "instances": timing.count}
    return found | {"threads": threads, "device": device_name(host_device(threads))}


def _pixels(tree: Tree, name: str, classifier: Classifier) -> np.ndarray:
    try:
        return classifier.pixels(tree.read(name))
    except InputError as error:
        raise InputError(f"{tree.full(name)}: {error}") from None


def _labelled(tree: Tree, classifier: Classifier, split: str) -> tuple[list[str], np.ndarray, str]:
    """Names of images, their labels (N,) as indices of outputs, and their split."""
    if LABELS in tree.files:
        names, labels = _from_csv(tree, classifier)
        return names, np.array(labels), ALL
    found = find(tree)
    used = ALL if ALL in found else split
    if used not in found:
        raise InputError(f"{tree.path}: no {split} in it, but {', '.join(found)}; --split tells which to use")
    classes = found[used]
    known = classifier.labels
    if known is None:
        known = sorted(classes)
        if len(known) != classifier.outputs:
            needed = f"the model has {classifier.outputs} outputs and no {classifier.labels_path.name}"
            raise InputError(f"{tree.path}: {len(known)} class folders, {needed}")
    for name in classes:
        if name not in known:
            raise InputError(f"{tree.path}: {name} is not a class of {classifier.labels_path}")
    pairs = [(name, known.index(label)) for label, names in classes.items() for name in names]
    return [name for name, _ in pairs], np.array([index for _, index in pairs]), used


def _from_csv(tree: Tree, classifier: Classifier) -> tuple[list[str], list[int]]:
    path = tree.full(LABELS)
    try:
        rows = list(csv.DictReader(io.StringIO(tree.read(LABELS).decode("utf-8-sig"))))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of comma-separated values ({error})") from None
    if not rows:
        raise InputError(f"{path}: no images")
    column = "label" if "label" in rows[0] else INDEX
    if not {"file", column} <= set(rows[0]):
        raise InputError(f"{path}: its columns are {', '.join(map(str, rows[0]))}, not file and label or {INDEX}")
    present, names, labels = set(tree.files), [], []
    for number, row in enumerate(rows, 2):  # line 1 is the header
        name = next((name for name in (f"images/{row['file']}", str(row["file"])) if name in present), None)
        if name is None:
            raise InputError(f"{path}: line {number}: {row['file']}: no such file in images/")
        try:
            labels.append(_index(row[column] or "", column, classifier))
        except InputError as error:
            raise InputError(f"{path}: line {number}: {error}") from None
        names.append(name)
    return names, labels


def _index(text: str, column: str, classifier: Classifier) -> int:
    """The output of a label, which is a class name or the number of an output."""
    if column == "label" and classifier.labels and text in classifier.labels:
        return classifier.labels.index(text)
    if not text.isdecimal():
        raise InputError(f"{column} {text!r} is neither a class of {classifier.labels_path.name} nor a number")
    # Networks of 1001 outputs have the background first, before ImageNet's 1000 classes.
    index = int(text) + (column == INDEX and classifier.outputs == 1001)
    if index >= classifier.outputs:
        raise InputError(f"{column} {text} is out of range, the model has {classifier.outputs} outputs")
    return index
