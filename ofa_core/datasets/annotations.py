"""Images and the boxes that a file of annotations says they have, before any image is decoded: what all formats share."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from ofa_core.images.decode import is_image
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Split by the word that names it in a file or folder, in lower case."""


class Annotated(NamedTuple):
    """An image and its n boxes, as the file says.

    image: its name in the tree. size: height and width in pixels that the file says; None where it says nothing.
    boxes: float64 (n, 4): ymin, xmin, ymax, xmax in pixels, finite, perhaps without area or partly outside of the image.
    labels: n names of classes. crowd: bool (n,). source: the file of annotations. fields: where in it each box's class is.
    """

    image: str
    size: tuple[int, int] | None
    boxes: np.ndarray
    labels: tuple[str, ...]
    crowd: np.ndarray
    source: str
    fields: tuple[str, ...]


class Annotations(NamedTuple):
    """What a format's reader finds: images by split (train, val, test, as far as the data have them), and the classes.

    classes: names, in the format's own order. ids: the number that the format gives to each class, if it does.
    """

    splits: dict[str, list[Annotated]]
    classes: tuple[str, ...]
    ids: tuple[int, ...] | None


class Lookup:
    """Finds the image of a tree that an annotation means; other folders may have one of the same name."""

    def __init__(self, tree: Tree, key: Callable[[str], str] = lambda name: name.rpartition("/")[2]) -> None:
        """key: what an image is looked up by, computed from its name in the tree."""
        self._tree = tree
        self._images: dict[str, list[str]] = defaultdict(list)
        for name in tree.files:
            if is_image(name):
                self._images[key(name)].append(name)

    def find(self, wanted: str, source: str) -> str | None:
        """The image with this key, among those whose name ends with the folders in `wanted`; None if there is none.

        Of several it is the one whose folders have most names in common with the path `source`, or with parts of that file's
        name: `images/train2017/1.jpg` for `annotations/instances_train2017.json`. Raises InputError if that does not decide.
        """
        folders, _, key = wanted.removeprefix("./").rpartition("/")
        found = [
            name for name in self._images.get(key, []) if f"/{name.rpartition('/')[0]}".endswith(f"/{folders}" * bool(folders))
        ]
        if len(found) < 2:
            return found[0] if found else None
        path = PurePosixPath(source)
        hints = {*path.parts[:-1], path.stem, *path.stem.split("_")}
        shared = [len(hints & set(PurePosixPath(name).parts[:-1])) for name in found]
        best = [name for name, count in zip(found, shared, strict=True) if count == max(shared)]
        if len(best) > 1:
            raise InputError(f"{self._tree.full(source)}: {wanted} is both {best[0]} and {best[1]}")
        return best[0]


def boxes_of(rows: Iterable[tuple[float, float, float, float]]) -> np.ndarray:
    """float64 (n, 4) of n rows, which may be none."""
    return np.array(list(rows), dtype=np.float64).reshape(-1, 4)


def check_splits(tree: Tree, splits: dict[str, list[Annotated]]) -> None:
    """Raises InputError if an image appears twice, in one split or in two."""
    seen: dict[str, tuple[str, Annotated]] = {}
    for split, images in splits.items():
        for one in images:
            if one.image in seen:
                other, first = seen[one.image]
                raise InputError(
                    f"{tree.full(one.source)}: {one.image} of {split} is already in {other}, by {tree.full(first.source)}"
                )
            seen[one.image] = split, one
