"""Pascal VOC's annotations: an XML file for each image.

Format: The PASCAL Visual Object Classes Challenge 2007 Development Kit (Everingham, Winn, 2007). Coordinates are read as
distances from the image's corner, as the TensorFlow Object Detection API reads them, so a box with xmin = xmax has no area.
Objects marked as difficult count as crowds: VOC's own evaluation leaves them out, whether they are found or not.
"""

import math
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from ofa_core.datasets.annotations import SPLIT_WORDS, Annotated, Annotations, Lookup, boxes_of, check_splits
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

CORNERS = ("ymin", "xmin", "ymax", "xmax")
SETS = "ImageSets"


def read(tree: Tree) -> Annotations:
    """The images and boxes of all .xml files of a tree, which may be beside the images or in folders of any name.

    Splits are those of ImageSets/Main/*.txt (train, val, test; without train.txt also trainval.txt). Without ImageSets they are
    folders named train, val (or valid, validation) and test. Else all images are train. The image is the one that is named
    like the XML file, or else the one in its `filename`.

    Raises InputError, naming the file and the field: no .xml files, broken XML or XML with a document type (it may define
    entities), a missing field, a coordinate that is no number, an image that is not there, a class that train lacks, a name
    in ImageSets without a file.
    """
    sources = [name for name in tree.files if name.lower().endswith(".xml")]
    if not sources:
        raise InputError(f"{tree.path}: no .xml files")
    lookup = Lookup(tree, _stem), Lookup(tree)
    by_split = _by_image_sets(tree, sources) or _by_folders(tree, sources)
    splits = {split: [_annotated(tree, source, *lookup) for source in names] for split, names in by_split.items()}
    check_splits(tree, splits)
    known = [splits["train"]] if "train" in splits else splits.values()
    classes = {label for images in known for one in images for label in one.labels}
    for images in splits.values():
        for one in images:
            for label, field in zip(one.labels, one.fields, strict=True):
                if label not in classes:
                    raise InputError(f"{tree.full(one.source)}: {field}: train has no class {label!r}")
    return Annotations(splits, tuple(sorted(classes)), None)


def parse(content: bytes) -> Element:
    """The root element of an XML document. Raises InputError with the reason if it is broken or has a document type.

    A document type can define entities that fill the memory or name files. No annotations need one.
    """
    parser, builder = expat.ParserCreate(), TreeBuilder()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except InputError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for encodings
        raise InputError(f"not XML ({error})") from None
    return builder.close()


def _refuse(*_: object) -> None:
    raise InputError("unsafe XML: it has a document type (<!DOCTYPE>)")


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _by_image_sets(tree: Tree, sources: list[str]) -> dict[str, list[str]]:
    """The XML files of each split by the lists in ImageSets/Main or ImageSets; {} without lists."""
    lists = {}
    for name in tree.files:
        parts = name.split("/")
        if parts[-1].endswith(".txt") and (parts[-2:-1] == [SETS] or parts[-3:-1] == [SETS, "Main"]):
            lists[parts[-1].removesuffix(".txt")] = name
    if "train" not in lists and "trainval" in lists:
        lists["train"] = lists["trainval"]
    by_stem: dict[str, list[str]] = {}
    for source in sources:
        by_stem.setdefault(_stem(source), []).append(source)
    found: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        if split in lists:
            found[split] = [_listed(tree, lists[split], line, by_stem) for line in _lines(tree, lists[split])]
    return found


def _lines(tree: Tree, name: str) -> list[str]:
    try:
        return [line.strip() for line in tree.read(name).decode().splitlines() if line.strip()]
    except ValueError as error:  # not text, or unreadable
        raise InputError(f"{tree.full(name)}: {error}") from None


def _listed(tree: Tree, name: str, line: str, by_stem: dict[str, list[str]]) -> str:
    found = by_stem.get(line, [])
    if len(found) != 1:
        raise InputError(f"{tree.full(name)}: {line}: there are {len(found)} files {line}.xml")
    return found[0]


def _by_folders(tree: Tree, sources: list[str]) -> dict[str, list[str]]:
    """The XML files of each split by the folders above them; all are train if no folder is named like a split."""
    found: dict[str, list[str]] = {}
    without = []
    for source in sources:
        splits = [SPLIT_WORDS[part.lower()] for part in source.split("/")[:-1] if part.lower() in SPLIT_WORDS]
        if splits:
            found.setdefault(splits[-1], []).append(source)
        else:
            without.append(source)
    if found and without:
        raise InputError(f"{tree.full(without[0])}: in none of the folders {', '.join(found)}, which others are in")
    return found or {"train": without}


def _annotated(tree: Tree, source: str, by_stem: Lookup, by_name: Lookup) -> Annotated:
    try:
        root = parse(tree.read(source))
        boxes, labels, crowd, fields = [], [], [], []
        for i, element in enumerate(root.findall("object")):
            field = f"object[{i}]"
            boxes.append(_box(element, field))
            labels.append(_text(element, "name", field))
            crowd.append((element.findtext("difficult") or "0").strip() == "1")
            fields.append(f"{field}.name")
        image = _image(root, source, by_stem, by_name)
        if image is None:
            raise InputError(f"filename: no image {_filename(root) or _stem(source)} in {tree.path}")
        size = _size(root)
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(str(tree.path)) else f"{tree.full(source)}: {message}") from None
    crowds = np.array(crowd, dtype=np.bool_)
    return Annotated(image, size, boxes_of(boxes), tuple(labels), crowds, source, tuple(fields))


def _image(root: Element, source: str, by_stem: Lookup, by_name: Lookup) -> str | None:
    """The image named like the XML file; else the one that the file names, where tools also write old or whole paths."""
    if image := by_stem.find(_stem(source), source):
        return image
    name = _filename(root).replace("\\", "/").rpartition("/")[2]
    return by_name.find(name, source) or by_stem.find(name, source)


def _filename(root: Element) -> str:
    return (root.findtext("filename") or "").strip()


def _box(element: Element, field: str) -> tuple[float, float, float, float]:
    box = element.find("bndbox")
    if box is None:
        raise InputError(f"{field}.bndbox: missing")
    ymin, xmin, ymax, xmax = (_number(box, key, f"{field}.bndbox") for key in CORNERS)
    return ymin, xmin, ymax, xmax


def _number(element: Element, key: str, field: str) -> float:
    text = _text(element, key, field)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{field}.{key}: {text!r:.60} is not a number")
    return value


def _text(element: Element, key: str, field: str) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise InputError(f"{field}.{key}: missing")
    return text


def _size(root: Element) -> tuple[int, int] | None:
    """Height and width; None if the file has none, or zeros as some tools write."""
    element = root.find("size")
    if element is None:
        return None
    height, width = (int(_number(element, key, "size")) for key in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None
