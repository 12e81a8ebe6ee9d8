"""Published sets of small images in two halves, in any file format. val is held out of the training half."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ofa_core.images.packed import draw, split_train
from ofa_core.run.errors import InputError


class Arrays(NamedTuple):
    """Images uint8 (N, H, W, 1 or 3) and labels int64 (N,) of both halves, in file order, and the class names."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


def split_arrays(data: Arrays, images: Mapping[str, int], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of train, val and test.

    images: number of images of each split, drawn in proportion to the classes. For train and test, 0 means all. train and val
    are in random order, test in file order. Raises InputError, naming the parameter, if there are too few images.
    """
    train, val = split_train(data.train_labels, images["val"], seed)
    if images["train"]:
        train = train[_subset("train", data.train_labels[train], images["train"], seed)]
    test = np.arange(len(data.test_labels))
    if images["test"]:
        test = np.sort(_subset("test", data.test_labels, images["test"], seed))
    return {
        "train": (data.train_images[train], data.train_labels[train]),
        "val": (data.train_images[val], data.train_labels[val]),
        "test": (data.test_images[test], data.test_labels[test]),
    }


def check_labels(labels: np.ndarray, classes: int, path: str | Path) -> None:
    """Raises InputError, naming the file, for a label without a class."""
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        image = outside[0]
        raise InputError(f"{path}: label {labels[image]} of image {image} is out of range; there are {classes} classes")


def _subset(split: str, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    try:
        return draw(labels, count, seed)[0]
    except InputError as error:
        raise InputError(f"prepare.{split}_images: {error}") from None
