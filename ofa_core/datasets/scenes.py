"""Scenes made of Fashion-MNIST's items, with boxes: the embedded default of detection.

A grey square of smooth noise has 1 to 3 items on it, 0.9 to 1.6 times their size, and shuffled patches of others, which have
their texture and brightness but not their shape. Items may cover each other; at least half of each stays visible. A box is
tight on the visible pixels of its item.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ofa_core.images.boxes import BOX_SPLITS, BoxSplit
from ofa_core.images.packed import Split, load_split
from ofa_core.run.errors import InputError

ITEMS = (1, 3)
"""Fewest and most items of a scene."""
DECOYS = (0, 1)
"""Fewest and most shuffled items of a scene."""
SCALES = (0.9, 1.6)
"""Side of an item on the scene, times its side in the data set."""
PATCHES = 4
"""A shuffled item is cut into this many patches each way."""
VISIBLE = 16
"""Lowest brightness of a pixel that belongs to an item: at least 37 pixels of each item of 28 x 28 have it."""
LEAST_VISIBLE = 0.5
"""Share of an item's pixels that no later item covers."""
TRIES = 100
"""Places that are tried for an item before the scene goes without it."""


class Scene(NamedTuple):
    """pixels: uint8 (S, S). owner: int8 (S, S), the number of the item that a pixel shows, in order of `items`; -1: none.
    sizes: visible and covered pixels of each item, together. items, decoys: indices into the split's images."""

    pixels: np.ndarray
    owner: np.ndarray
    sizes: list[int]
    items: list[int]
    decoys: list[int]


def scenes(path: Path, side: int, counts: Mapping[str, int], seed: int) -> tuple[dict[str, BoxSplit], dict[str, list[Scene]]]:
    """Scenes of `side` pixels by split (`BOX_SPLITS`), and how each was made.

    path: packed classification data with grey images. Scenes of val and test have items of its val and test; those of train and
    unlabelled have items of two halves of its train (`item_pools`). No item or decoy is in scenes of two splits. Scenes of
    unlabelled get no boxes. The first scenes of a split do not depend on how many there are.

    Raises InputError for data with colours, or with items that are too large for the scene.
    """
    found, made = {}, {}
    for number, name in enumerate(BOX_SPLITS):
        split = load_split(path, "train" if name == "unlabelled" else name)
        images = _grey(path, split, side)
        pool = item_pools(len(split.labels), seed)[name] if name in ("train", "unlabelled") else np.arange(len(split.labels))
        rng = np.random.default_rng([seed, number])
        stream = _stream(pool, rng)
        made[name] = [_scene(images, stream, side, rng) for _ in range(counts[name])]
        found[name] = _packed(name, made[name], split, side)
    return found, made


def item_pools(count: int, seed: int) -> dict[str, np.ndarray]:
    """The classification train images, by index, in scenes of train and of unlabelled: a half of them each, at random."""
    order = np.random.default_rng([seed, len(BOX_SPLITS)]).permutation(count)
    return {"train": order[: count // 2], "unlabelled": order[count // 2 :]}


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """ymin, xmin, ymax, xmax in pixels of the true pixels of a mask (H, W); the last two are behind the last pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _grey(path: Path, split: Split, side: int) -> np.ndarray:
    """The images, uint8 (N, h, w). Raises InputError if scenes cannot be made of them."""
    images = split.images[:]
    if images.shape[-1] != 1:
        raise InputError(f"prepare_detection.dataset: scenes needs grey items, such as fashion_mnist's; {path} has colours")
    largest = round(max(images.shape[1:3]) * SCALES[1])
    if largest > side:
        raise InputError(f"prepare_detection.image_size: {side}: the items of scenes have up to {largest} pixels")
    return np.asarray(images[..., 0])


def _stream(pool: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """The items of a pool in random order; once all were given, again in another order."""
    while True:
        yield from rng.permutation(pool).tolist()


def _scene(images: np.ndarray, stream: Iterator[int], side: int, rng: np.random.Generator) -> Scene:
    pixels = _noise(side, rng)
    decoys = [next(stream) for _ in range(rng.integers(DECOYS[0], DECOYS[1] + 1))]
    for index in decoys:
        patch = _resized(_shuffled(images[index], rng), rng)
        top, left = _corner(patch, side, rng)
        _paste(pixels[top : top + patch.shape[0], left : left + patch.shape[1]], patch)
    scene = Scene(pixels, np.full((side, side), -1, np.int8), [], [], decoys)
    for _ in range(rng.integers(ITEMS[0], ITEMS[1] + 1)):
        index = next(stream)
        _place(scene, index, _resized(images[index], rng), rng)
    return scene


def _place(scene: Scene, index: int, patch: np.ndarray, rng: np.random.Generator) -> None:
    """Puts an item where enough of all others stays visible."""
    mask = patch >= VISIBLE
    for _ in range(TRIES):
        top, left = _corner(patch, len(scene.pixels), rng)
        window = slice(top, top + patch.shape[0]), slice(left, left + patch.shape[1])
        owner = scene.owner.copy()
        owner[window][mask] = len(scene.items)
        if all((owner == number).sum() >= LEAST_VISIBLE * size for number, size in enumerate(scene.sizes)):
            scene.owner[:] = owner
            _paste(scene.pixels[window], patch)
            scene.sizes.append(int(mask.sum()))
            scene.items.append(index)
            return


def _noise(side: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise, uint8 (side, side): coarse and fine blots. Pillow resizes bytes, so all processors give equal ones."""
    coarse, fine = (
        np.asarray(
            Image.fromarray(rng.integers(256, size=(n, n), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        )
        for n in (5, 14)
    )
    return ((coarse.astype(np.uint16) * 2 + fine) // 5).astype(np.uint8)  # up to 153: darker than most items


def _shuffled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An item cut into `PATCHES` x `PATCHES` patches in another order; what is left over at the edges is cut off."""
    height, width = (length // PATCHES for length in image.shape)
    parts = image[: height * PATCHES, : width * PATCHES].reshape(PATCHES, height, PATCHES, width)
    parts = rng.permutation(parts.swapaxes(1, 2).reshape(-1, height, width))  # (16, height, width)
    return parts.reshape(PATCHES, PATCHES, height, width).swapaxes(1, 2).reshape(PATCHES * height, PATCHES * width)


def _resized(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scale = rng.uniform(*SCALES)
    height, width = (round(length * scale) for length in image.shape)
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR))


def _corner(patch: np.ndarray, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random top and left at which the patch is inside the scene."""
    return int(rng.integers(side - patch.shape[0] + 1)), int(rng.integers(side - patch.shape[1] + 1))


def _paste(window: np.ndarray, patch: np.ndarray) -> None:
    np.copyto(window, patch, where=patch >= VISIBLE)


def _packed(name: str, made: list[Scene], split: Split, side: int) -> BoxSplit:
    boxes, labels = [], []
    for scene in made:
        items = [] if name == "unlabelled" else scene.items
        found = [tight_box(scene.owner == number) for number in range(len(items))]
        boxes.append((np.array(found, dtype=np.float64).reshape(-1, 4) / side).astype(np.float32))
        labels.append(split.labels[items] if items else np.zeros(0, np.int64))
    return BoxSplit(
        images=np.array([scene.pixels for scene in made], dtype=np.uint8).reshape(-1, side, side, 1),
        boxes=boxes,
        labels=labels,
        crowd=[np.zeros(len(array), np.bool_) for array in labels],
        sizes=np.full((len(made), 2), side, dtype=np.int64),
        names=tuple(f"{name}/{i:05}.png" for i in range(len(made))),
        classes=split.classes,
    )
