"""A data set as one .npz file whose bytes depend only on its content, split into train, val and test.

It is one file because DVC hashes and moves one 50 MB file in a second, but 70,000 small ones in minutes. A split can be read
without the others. For a large set the file has only the labels; the images are in shards beside it (`shards.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ofa_core.images.npz import reading_arrays, write_arrays
from ofa_core.images.shards import Shards, Stored, folder_of
from ofa_core.run.errors import InputError

SPLITS = ("train", "val", "test")


class Split(NamedTuple):
    """images: uint8 (N, H, W, C), C = 1 or 3, in memory or in shards. labels: int64 (N,), indices into classes."""

    images: np.ndarray | Shards
    labels: np.ndarray
    classes: tuple[str, ...]


def pack(path: str | Path, splits: Mapping[str, tuple[np.ndarray | Stored, np.ndarray]], classes: Sequence[str]) -> None:
    """Writes images uint8 (N, H, W, C) and labels (N,) of the splits train, val and test, and the class names.

    For images in shards, which are in `folder_of(path)`, it writes their locations instead.

    Raises InputError, naming the split, for wrong shapes, types or labels.
    """
    if set(splits) != set(SPLITS):
        raise InputError(f"splits: {', '.join(sorted(splits))}; they must be {', '.join(SPLITS)}")
    arrays = {"classes": np.array(list(classes), dtype=np.str_)}
    for name in SPLITS:
        images, labels = splits[name]
        if isinstance(images, Stored):
            arrays |= {
                "shard_names": np.array(images.names, dtype=np.str_),
                "shard_md5": np.array(images.md5, dtype=np.str_),
                "shard_sizes": np.array(images.sizes, dtype=np.int64),
                "side": np.array([images.side]),
                f"{name}_places": images.places,
            }
        elif images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise InputError(f"{name}: images are {images.dtype} {images.shape}, not uint8 (N, H, W, 1 or 3)")
        else:
            arrays[f"{name}_images"] = images
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"{name}: labels are {labels.dtype} {labels.shape}, not {images.shape[0]} whole numbers")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise InputError(f"{name}: labels range from {labels.min()} to {labels.max()}; there are {len(classes)} classes")
        arrays[f"{name}_labels"] = labels.astype(np.int64)
    write_arrays(path, arrays)


def load_split(path: str | Path, split: str) -> Split:
    """Reads one split of a packed file. The other splits stay on disk, and so do images in shards.

    Raises InputError that names the file, the split or the shard.
    """
    if split not in SPLITS:
        raise InputError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    with reading_arrays(path) as archive:
        labels, classes = archive[f"{split}_labels"], tuple(str(name) for name in archive["classes"])
        if "side" not in archive:
            return Split(archive[f"{split}_images"], labels, classes)
        names, sizes, md5 = (tuple(archive[f"shard_{key}"].tolist()) for key in ("names", "sizes", "md5"))
        stored = Stored(names, sizes, md5, archive[f"{split}_places"], int(archive["side"][0]))
    return Split(Shards(folder_of(path), stored), labels, classes)


def draw(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws `count` items at random, with each class in proportion to its share (within one item).

    labels: int (N,). Returns the indices of the drawn and of the other items. Both are in random order, so any first part is a
    fair sample too. Raises InputError if there are fewer items.
    """
    if not 0 <= count <= len(labels):
        raise InputError(f"{count} is not between 0 and {len(labels)}, the number of images available")
    totals = np.bincount(labels)
    # Largest remainders: the whole part of each share, plus one where the most was cut off.
    numerators = totals * count
    quotas = numerators // max(len(labels), 1)
    cut_off = numerators - quotas * max(len(labels), 1)
    quotas[np.argsort(-cut_off, kind="stable")[: count - quotas.sum()]] += 1

    order = np.random.default_rng(seed).permutation(len(labels))
    drawn = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas):
        drawn[np.flatnonzero(labels[order] == label)[:quota]] = True
    return order[drawn], order[~drawn]


def split_train(labels: np.ndarray, val_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Holds val out of train. Returns the disjoint indices of train and of val, stratified by `draw`.

    labels: int (N,). Raises InputError if nothing would be left to train on.
    """
    if not 1 <= val_images < len(labels):
        raise InputError(f"prepare.val_images: {val_images} is not between 1 and {len(labels) - 1}")
    val, train = draw(labels, val_images, seed)
    return train, val
