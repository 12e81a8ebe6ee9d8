"""IDX, the array format of MNIST and its successors (http://yann.lecun.com/exdb/mnist/), gzip-compressed or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ofa_core.datasets.arrays import Arrays, check_labels
from ofa_core.datasets.class_names import read_names
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

HALVES = {"train": ("train",), "test": ("t10k", "test")}
"""Words in the file names of each half, besides `images` or `labels`."""


def load(path: Path, class_names: str | None) -> Arrays:
    """Reads the four files of a set from a folder or .zip archive.

    Names are as in MNIST: train-images*, train-labels*, t10k-* or test-*. All images have one size, (N, H, W) grey or
    (N, H, W, 3). class_names: a file of names starting with label 0. None names classes by their labels. Labels without train
    images do not count as classes.

    Raises InputError, one line naming the file: a missing, ambiguous or broken file, different numbers of images and labels,
    different sizes, a label out of range.
    """
    arrays = {}
    with Tree(path) as tree:
        for half, words in HALVES.items():
            name, images = _read(tree, words, "images")
            if images.ndim == 3:
                images = images[..., None]
            if images.ndim != 4 or images.shape[-1] not in (1, 3):
                raise InputError(f"{name}: {images.shape} is neither (N, H, W) nor (N, H, W, 3)")
            labels_name, labels = _read(tree, words, "labels")
            if labels.shape != images.shape[:1]:
                raise InputError(f"{labels_name}: {labels.shape} labels for {len(images)} images")
            arrays[half] = (images, labels.astype(np.int64), name, labels_name)
    (train, train_labels, _, train_name), (test, test_labels, test_images_name, test_name) = arrays.values()
    if train.shape[1:] != test.shape[1:]:
        raise InputError(f"{test_images_name}: images of {test.shape[1:]}, but train images are {train.shape[1:]}")
    used = np.unique(train_labels)
    names: tuple[str, ...] = tuple(map(str, range(256)))
    if class_names is not None:
        names = read_names(class_names)
        check_labels(train_labels, len(names), train_name)
    unknown = np.setdiff1d(test_labels, used)
    if len(unknown):
        raise InputError(f"{test_name}: label {unknown[0]} is out of range; no train image has it")
    train_labels, test_labels = (np.searchsorted(used, labels) for labels in (train_labels, test_labels))
    return Arrays(train, train_labels, test, test_labels, tuple(names[label] for label in used))


def _read(tree: Tree, words: tuple[str, ...], what: str) -> tuple[str, np.ndarray]:
    """The full name and array of one file of a half. An uncompressed file is preferred over a compressed one."""
    names = [
        name
        for name in tree.files
        if what in (base := name.rpartition("/")[2].lower()) and any(word in base for word in words) and "idx" in base
    ]
    found = [name for name in names if not name.endswith(".gz")] or names
    if len(found) != 1:
        wanted = " or ".join(f"{word}-{what}*idx*" for word in words)
        several = f"several files {wanted}: {', '.join(found)}" if found else f"no file {wanted}"
        raise InputError(f"{tree.path}: {several}")
    full = tree.full(found[0])
    try:
        content = tree.read(found[0])
    except InputError as error:
        raise InputError(f"{full}: {error}") from None
    return full, parse_idx(_gunzip(content, full) if found[0].endswith(".gz") else content, full)


def read_idx(path: str | Path) -> np.ndarray:
    """The array of a .gz IDX file of unsigned bytes: uint8, with the axes in the file.

    Raises InputError, naming the file: missing, not gzip, truncated, not IDX, more or fewer bytes than its header says.
    """
    return parse_idx(unzip(path), path)


def unzip(path: str | Path) -> bytes:
    """The uncompressed content of a .gz file. Raises InputError that names the file."""
    try:
        return _gunzip(Path(path).read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def parse_idx(content: bytes, path: str | Path) -> np.ndarray:
    """The array of IDX bytes. path: for messages. Raises InputError if the bytes are not valid."""
    # Header: two zero bytes, the type (8: unsigned byte), the number of axes, then each axis as a big-endian uint32.
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise InputError(f"{path}: not an IDX file of unsigned bytes")
    axes = content[3]
    start = 4 + 4 * axes
    if not axes or len(content) < start:
        raise InputError(f"{path}: truncated IDX header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    if len(content) - start != math.prod(shape):
        raise InputError(f"{path}: {len(content) - start} bytes of data; the header says {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _gunzip(content: bytes, path: str | Path) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError:
        raise InputError(f"{path}: truncated gzip file") from None
    except (OSError, zlib.error) as error:
        raise InputError(f"{path}: not a gzip file ({error})") from None
