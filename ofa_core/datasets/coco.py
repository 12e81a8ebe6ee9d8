"""COCO's instances JSON, read and written.

Format: https://cocodataset.org/#format-data (Microsoft COCO, Lin et al., 2014, https://arxiv.org/abs/1405.0312). Category ids
need not follow each other; `bbox` is x, y, width, height in pixels from the corner of the image; a crowd is one box around a
group. Boxes are those of the pixels as stored: COCO ignores EXIF.
"""

import json
import re
from collections import defaultdict
from typing import Any

import numpy as np

from ofa_core.datasets.annotations import SPLIT_WORDS, Annotated, Annotations, Lookup, boxes_of, check_splits
from ofa_core.images.boxes import BoxSplit
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

LISTS = ("images", "annotations", "categories")
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})(?![a-z])")


def read(tree: Tree) -> Annotations:
    """The images and boxes of all instances files of a tree.

    If names start with `instances`, as in COCO, these are the files; else all .json files with images, annotations and
    categories. A split is in the file's name (instances_train2017.json) or its folder's (train/_annotations.coco.json). A
    single file without one is train. Images are where `file_name` says, counted from any folder.

    Categories of one name are one class. Raises InputError, naming the file and the field: no files, broken JSON, a field that
    is missing or of a wrong type, an image that is not there, an image or category that is not in the file's lists, an id with
    two names.
    """
    sources = [name for name in tree.files if name.lower().endswith(".json")]
    instances = [name for name in sources if name.rpartition("/")[2].lower().startswith("instances")]
    contents = {name: _load(tree, name) for name in instances or sources}
    if not instances:
        contents = {
            name: content for name, content in contents.items() if isinstance(content, dict) and set(LISTS) <= set(content)
        }
    if not contents:
        raise InputError(f"{tree.path}: no JSON file with {', '.join(LISTS[:-1])} and {LISTS[-1]}")
    lookup = Lookup(tree)
    splits: dict[str, list[Annotated]] = {}
    names: dict[int, str] = {}
    for source, content in contents.items():
        split = _split_of(source) or ("train" if len(contents) == 1 else None)
        if split is None:
            raise InputError(f"{tree.full(source)}: its name says no split ({', '.join(SPLIT_WORDS)}), and there are others")
        if split in splits:
            raise InputError(f"{tree.full(source)}: a second file for the split {split}")
        file = _File(tree, source, content)
        _merge(names, file)
        splits[split] = file.images(lookup)
    check_splits(tree, splits)
    ids = {name: number for number, name in sorted(names.items(), reverse=True)}  # of two with one name, the lower
    classes = tuple(sorted(ids, key=lambda name: ids[name]))
    return Annotations(splits, classes, tuple(ids[name] for name in classes))


def instances(split: BoxSplit, description: str) -> dict[str, Any]:
    """The images and boxes of a split as an instances JSON, for pycocotools.

    Boxes are in pixels of the images before they were stretched, `area` is that of the box. Image and annotation ids count
    from 1, in order. The category id is the label + 1, as the readers of released detectors have it (lpcvc contract, 1.4).
    """
    annotations: list[dict[str, Any]] = []
    for i, (boxes, labels, crowd) in enumerate(zip(split.boxes, split.labels, split.crowd, strict=True)):
        pixels = boxes.astype(np.float64) * np.tile(split.sizes[i], 2)  # ymin, xmin, ymax, xmax
        for (top, left, bottom, right), label, is_crowd in zip(pixels.tolist(), labels.tolist(), crowd.tolist(), strict=True):
            box = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            entry = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": label + 1, "iscrowd": int(is_crowd)}
            annotations.append(entry | {"bbox": box, "area": round((right - left) * (bottom - top), 3)})
    sizes = zip(split.names, split.sizes.tolist(), strict=True)
    return {
        "info": {"description": description},
        "images": [{"id": i, "file_name": name, "height": h, "width": w} for i, (name, (h, w)) in enumerate(sizes, 1)],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(split.classes, 1)],
    }


def _load(tree: Tree, source: str) -> Any:
    try:
        return json.loads(tree.read(source))
    except InputError as error:
        raise InputError(f"{tree.full(source)}: {error}") from None
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or not text
        raise InputError(f"{tree.full(source)}: not JSON ({error})") from None


def _split_of(source: str) -> str | None:
    for part in reversed(source.lower().removesuffix(".json").split("/")):
        if found := _SPLIT.search(part):
            return SPLIT_WORDS[found[1]]
    return None


def _merge(names: dict[int, str], file: "_File") -> None:
    """Adds the categories of a file to those of the others. Raises InputError if they contradict each other."""
    for category, name in file.categories.items():
        if names.setdefault(category, name) != name:
            raise file.error("categories", f"id {category} is {name}, but {names[category]} in another file")


class _File:
    """One instances file; `categories`: name by id."""

    def __init__(self, tree: Tree, source: str, content: Any) -> None:
        self._tree, self._source = tree, source
        if not isinstance(content, dict):
            raise InputError(f"{tree.full(source)}: not an object with {', '.join(LISTS)}")
        self._lists = {}
        for key in LISTS:
            entries = content.get(key)
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise self.error(key, "missing" if key not in content else "not a list of objects")
            self._lists[key] = entries
        self.categories: dict[int, str] = {}
        for i, entry in enumerate(self._lists["categories"]):
            where = f"categories[{i}]"
            number, name = self._get(entry, where, "id", int), self._get(entry, where, "name", str)
            if number in self.categories:
                raise self.error(f"{where}.id", f"{number} appears twice")
            self.categories[number] = name

    def images(self, lookup: Lookup) -> list[Annotated]:
        """All images, in the order of the file."""
        entries = self._lists["images"]
        ids = [self._id(entry, f"images[{i}]", "id") for i, entry in enumerate(entries)]
        if len(set(ids)) < len(ids):
            raise self.error("images", "an id appears twice")
        boxes = self._boxes(set(ids))
        found = []
        for i, (entry, number) in enumerate(zip(entries, ids, strict=True)):
            rows = boxes[number]
            found.append(
                Annotated(
                    self._image(entry, f"images[{i}]", lookup),
                    self._size(entry, f"images[{i}]"),
                    boxes_of(row[0] for row in rows),
                    tuple(row[1] for row in rows),
                    np.array([row[2] for row in rows], dtype=np.bool_),
                    self._source,
                    tuple(row[3] for row in rows),
                )
            )
        return found

    def _boxes(self, known: set[Any]) -> dict[Any, list[tuple[tuple[float, float, float, float], str, bool, str]]]:
        """Box, class, crowd and field of the annotations by image id."""
        found = defaultdict(list)
        for i, entry in enumerate(self._lists["annotations"]):
            where = f"annotations[{i}]"
            image, category = self._id(entry, where, "image_id"), self._get(entry, where, "category_id", int)
            if image not in known:
                raise self.error(f"{where}.image_id", f"{image!r} is not the id of an image")
            if category not in self.categories:
                raise self.error(f"{where}.category_id", f"{category} is not the id of a category")
            left, top, width, height = self._bbox(entry, where)
            crowd = entry.get("iscrowd", 0)
            if crowd not in (0, 1):
                raise self.error(f"{where}.iscrowd", f"{crowd!r} is not 0 or 1")
            box = (top, left, top + height, left + width)
            found[image].append((box, self.categories[category], bool(crowd), f"{where}.category_id"))
        return found

    def _bbox(self, entry: dict[str, Any], where: str) -> list[float]:
        box = self._get(entry, where, "bbox", list)
        numbers = [value for value in box if isinstance(value, int | float) and not isinstance(value, bool)]
        # The limit also excludes NaN, infinity, and whole numbers that float64 cannot hold.
        if len(box) != 4 or len(numbers) != 4 or not all(abs(v) < 1e9 for v in numbers):
            raise self.error(f"{where}.bbox", f"{box!r:.60} is not four numbers: x, y, width, height")
        return [float(value) for value in numbers]

    def _image(self, entry: dict[str, Any], where: str, lookup: Lookup) -> str:
        wanted = self._get(entry, where, "file_name", str).replace("\\", "/")
        image = lookup.find(wanted, self._source)
        if image is None:
            raise self.error(f"{where}.file_name", f"no image {wanted} in {self._tree.path}")
        return image

    def _size(self, entry: dict[str, Any], where: str) -> tuple[int, int] | None:
        """Height and width; None if the file has none, or zeros as some tools write."""
        if not entry.get("height") or not entry.get("width"):
            return None
        return self._get(entry, where, "height", int), self._get(entry, where, "width", int)

    def _id(self, entry: dict[str, Any], where: str, key: str) -> int | str:
        """Ids are numbers in COCO, and text in some other sets."""
        return entry[key] if isinstance(entry.get(key), str) else self._get(entry, where, key, int)

    def _get(self, entry: dict[str, Any], where: str, key: str, kind: type) -> Any:
        value = entry.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = "missing" if key not in entry else f"{value!r:.60} is not {_KINDS[kind]}"
            raise self.error(f"{where}.{key}", found)
        return value

    def error(self, field: str, problem: str) -> InputError:
        """The error that names this file and a field of it."""
        return InputError(f"{self._tree.full(self._source)}: {field}: {problem}")


_KINDS = {int: "a whole number", str: "text", list: "a list"}
