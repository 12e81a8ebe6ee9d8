"""From annotations to pixels and normalised boxes: decodes images, stretches them to squares, and checks their boxes."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ofa_core.datasets.annotations import Annotated
from ofa_core.datasets.decoding import Broken, in_threads, threads_for
from ofa_core.images.boxes import BoxSplit
from ofa_core.images.decode import decode, decode_as_stored
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

REASONS = ("no_area", "outside", "other_class")
"""Why a box is dropped: height or width is not above 0; no part of it is in the image; a class that is not asked for."""
CLIPPED = "clipped"
"""Count of boxes that were partly outside of their image; the part inside is kept."""


def decode_boxes(
    tree: Tree, split: str, images: Sequence[Annotated], side: int, classes: Sequence[str], broken: Broken
) -> tuple[BoxSplit, Counter[str]]:
    """The readable images in order, stretched to `side` x `side` pixels by Pillow's bilinear filter, and their boxes.

    Stretching without bars is what readers of released detectors do (LPCVC's contract, 2.1). Boxes of classes that are not in
    `classes` are dropped, and so are those of `REASONS`. Returns the counts of them, and of boxes that were clipped.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    pixels = np.empty((len(images), side, side, 3), np.uint8)
    kept: list[Annotated] = []
    sizes, placed, counts = [], [], Counter[str]()

    def work(one: Annotated) -> tuple[np.ndarray, tuple[int, int]] | str:
        try:
            image = framed(tree.read(one.image), one.size)
        except InputError as error:
            return str(error)
        return np.array(image.resize((side, side), Image.Resampling.BILINEAR)), (image.height, image.width)

    threads = threads_for(tree, [one.image for one in images])
    for one, result in zip(images, in_threads(work, images, threads, f"decoding {split}"), strict=True):
        if isinstance(result, str):
            broken.add(one.image, result)
            continue
        pixels[len(kept)], size = result
        kept.append(one)
        sizes.append(size)
        placed.append(place(one, size, numbers, counts))
    return BoxSplit(
        images=pixels[: len(kept)],
        boxes=[boxes for boxes, _, _ in placed],
        labels=[labels for _, labels, _ in placed],
        crowd=[crowd for _, _, crowd in placed],
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        names=tuple(one.image for one in kept),
        classes=tuple(classes),
    ), counts


def framed(content: bytes, size: tuple[int, int] | None) -> Image.Image:
    """The image in the frame that its boxes are measured in. size: height and width that the annotations say, if they do.

    That is the one as stored, without EXIF orientation, as in COCO, unless only the upright image has that size. Raises
    InputError with the reason if the image cannot be read, or has that size neither way.
    """
    image = decode_as_stored(content)
    if size is None or size == (image.height, image.width):
        return image
    upright = decode(content)
    if size == (upright.height, upright.width):
        return upright
    raise InputError(f"{image.width} x {image.height} pixels, but {size[1]} x {size[0]} in its annotations")


def place(
    one: Annotated, size: tuple[int, int], numbers: Mapping[str, int], counts: Counter[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes float32 (n, 4) as shares of the image, clipped to it, labels int64 (n,) and crowd bool (n,) of what is kept.

    numbers: label by name. counts: where dropped and clipped boxes are added, by reason.
    """
    labels = np.array([numbers.get(label, -1) for label in one.labels], dtype=np.int64)
    whole = one.boxes / np.tile(size, 2)  # (n, 4)
    inside = np.clip(whole, 0, 1).astype(np.float32)
    reasons = {
        "other_class": labels < 0,
        "no_area": ~_has_area(whole),
        "outside": ~_has_area(inside),  # float32: what is thinner than its steps is gone too
    }
    keep = np.ones(len(labels), np.bool_)
    for reason, found in reasons.items():
        counts[reason] += int((found & keep).sum())
        keep &= ~found
    counts[CLIPPED] += int(((whole < 0) | (whole > 1)).any(axis=1)[keep].sum())
    return inside[keep], labels[keep], one.crowd[keep]


def _has_area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, :2] < boxes[:, 2:]).all(axis=1))
