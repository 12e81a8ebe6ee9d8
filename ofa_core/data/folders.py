"""Own images: class folders, alone or below train/, val/ and test/, in a folder or in a .zip archive.

The layout torchvision's ImageFolder reads and ImageNet is unpacked to. Images are drawn first and decoded once, so that a
small part of a large set takes little time; files that cannot be read are reported and left out.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ofa_core.data.decode import centre, decode, is_image
from ofa_core.data.packed import SPLITS, draw
from ofa_core.data.tree import Tree

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Name of a folder, in lower case, and the split it holds."""
ALL = "all"
"""The one split of a tree of class folders alone."""
FEWEST_IMAGES = 3
"""Of a class: one each for train, val and test."""
SHOWN = 20
"""Broken images that get a line of their own."""
CHUNK = 64
"""Images a thread decodes at a time."""
SMALL = 8192
"""Bytes of a file below which one thread decodes as fast as several."""

Classes = dict[str, list[str]]
"""Class names, sorted, and the images of each."""


class Listing(NamedTuple):
    """Images of a split: their names in a tree, and their labels int64 (N,)."""

    names: list[str]
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Listing":
        """Some of them, in the order of the indices."""
        return Listing([self.names[i] for i in indices], self.labels[indices])


class Loaded(NamedTuple):
    """splits: images uint8 (N, s, s, 3) and labels int64 (N,) of train, val and test; counts: metrics of what was left out."""

    splits: dict[str, tuple[np.ndarray, np.ndarray]]
    classes: tuple[str, ...]
    counts: dict[str, int]


def load(path: Path, image_size: int, images: Mapping[str, int], max_broken: int, seed: int) -> Loaded:
    """Reads the images of a folder or .zip archive, resized and cropped to image_size x image_size pixels.

    images: how many of train, val and test to take, drawn in proportion to the classes; 0 is all there are. A missing val or
    test is held out of train, and must then have a number. max_broken: most images that may be left out as unreadable.

    Raises ValueError, one line that names path or parameter: no such folder, no images, one class, a class without images or
    with fewer than `FEWEST_IMAGES`, a class that train lacks, fewer images than asked for, too many broken ones.
    """
    with Tree(path) as tree:
        found = find(tree)
        classes, listings = _label(tree, found)
        ignored = _report_ignored(tree, sum(len(listing.names) for listing in listings.values()))
        chosen = _choose(tree, listings, images, seed)
        _check_train(
            chosen["train"].labels, classes, f"{path}: no train image is left of class", "; hold out fewer, or take more"
        )
        broken = _Broken(tree, max_broken)
        splits = {name: _decode(tree, name, chosen[name], image_size, broken) for name in SPLITS}
    _check_train(splits["train"][1], classes, f"{path}: none of the train images can be read of class", "")
    for name, (_, labels) in splits.items():
        if not len(labels):
            raise ValueError(f"{path}: none of the {name} images can be read")
    counts = {"ignored_files": ignored, "broken_images": broken.count, "repeated_images": _repeated(path, splits)}
    return Loaded(splits, classes, counts)


def find(tree: Tree) -> dict[str, Classes]:
    """The images of a tree by split (train, val, test, or `ALL` where there are class folders alone) and class.

    Folders that hold nothing but one other folder, as archives often do, are passed through. Images may lie at any depth
    below their class. Raises ValueError that names a folder: without class folders, a class without images, a split twice.
    """
    top = ""
    while True:
        below = _below(tree, top)
        deeper = [f"{top}{name}/" for name in below]
        if len(below) != 1 or below[0].lower() in SPLIT_FOLDERS or not _below(tree, deeper[0]):
            break
        top = deeper[0]
    splits = [name for name in below if name.lower() in SPLIT_FOLDERS]
    if not splits:
        return {ALL: _classes(tree, top)}
    found: dict[str, Classes] = {}
    for name in splits:
        split = SPLIT_FOLDERS[name.lower()]
        if split in found:
            raise ValueError(f"{tree.full(top + name)}: a second folder for the split {split}")
        found[split] = _classes(tree, f"{top}{name}/")
    return found


def _below(tree: Tree, top: str) -> list[str]:
    """Names of the folders right below `top`, which is "" or ends with a slash."""
    return [name[len(top) :] for name in tree.folders if name.startswith(top) and "/" not in name[len(top) :]]


def _classes(tree: Tree, top: str) -> Classes:
    classes: Classes = {name: [] for name in _below(tree, top)}
    for name in tree.files:
        label, slash, _ = name.removeprefix(top).partition("/")
        if name.startswith(top) and slash and is_image(name):
            classes[label].append(name)
    if not any(classes.values()):
        raise ValueError(f"{tree.full(top)}: no images in class folders")
    for label, names in classes.items():
        if not names:
            raise ValueError(f"{tree.full(top + label)}: a class without images")
    return classes


def _label(tree: Tree, found: dict[str, Classes]) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """Class names, which are train's, and each split with its labels."""
    if ALL in found:
        found = {"train": found[ALL]}
    if "train" not in found:
        raise ValueError(f"{tree.path}: has {', '.join(found)} but no train")
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise ValueError(f"{tree.path}: one class only, {classes[0]}")
    for names in found["train"].values():
        if len(names) < FEWEST_IMAGES:
            raise ValueError(f"{tree.full(names[0].rpartition('/')[0])}: {len(names)} images, a class needs {FEWEST_IMAGES}")
    index = {label: i for i, label in enumerate(classes)}
    listings = {}
    for split, by_class in found.items():
        for label, names in by_class.items():
            if label not in index:
                raise ValueError(f"{tree.full(names[0].rpartition('/')[0])}: train has no class {label}")
        names = [name for label in sorted(by_class) for name in by_class[label]]
        labels = [index[label] for label in sorted(by_class) for _ in by_class[label]]
        listings[split] = Listing(names, np.array(labels, dtype=np.int64))
    return classes, listings


def _report_ignored(tree: Tree, images: int) -> int:
    """How many files are no images of a class, told on stderr with the suffixes they have."""
    others = Counter(Path(name).suffix.lower() or "no suffix" for name in tree.files if not is_image(name))
    outside = len(tree.files) - images - others.total()
    kinds = [f"{count} {suffix}" for suffix, count in others.most_common(5)]
    kinds += [f"{tree.hidden_files} hidden"] if tree.hidden_files else []
    kinds += [f"{outside} images outside of class folders"] if outside else []
    if kinds:
        print(f"{tree.path}: ignored files: {', '.join(kinds)}", file=sys.stderr, flush=True)
    return others.total() + outside + tree.hidden_files


def _choose(tree: Tree, listings: dict[str, Listing], images: Mapping[str, int], seed: int) -> dict[str, Listing]:
    """What to decode: train and val in random order, so that any first part of them is a fair sample, test in the tree's."""
    chosen: dict[str, Listing] = {}
    train = listings["train"]
    for split in ("test", "val"):
        if split in listings:
            chosen[split] = listings[split].take(_draw(listings[split], split, images, seed)[0])
        elif images[split]:
            held_out, rest = _draw(train, split, images, seed)
            chosen[split], train = train.take(held_out), train.take(rest)
        else:
            raise ValueError(f"prepare.{split}_images: 0, but {tree.path} has no {split} to take all of; give a number")
    chosen["train"] = train.take(_draw(train, "train", images, seed)[0])
    chosen["test"] = chosen["test"].take(np.argsort(chosen["test"].names, kind="stable"))
    return chosen


def _draw(listing: Listing, split: str, images: Mapping[str, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        return draw(listing.labels, images[split] or len(listing.labels), seed)
    except ValueError as error:
        raise ValueError(f"prepare.{split}_images: {error}") from None


def _check_train(labels: np.ndarray, classes: tuple[str, ...], before: str, after: str) -> None:
    for label, count in enumerate(np.bincount(labels, minlength=len(classes))):
        if not count:
            raise ValueError(f"{before} {classes[label]}{after}")


class _Broken:
    """Tells of images that cannot be read, and stops when they are more than `most`."""

    def __init__(self, tree: Tree, most: int) -> None:
        self.tree, self.most, self.count = tree, most, 0

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        if self.count <= SHOWN:
            tqdm.write(f"{self.tree.full(name)}: {reason}", file=sys.stderr)
        if self.count > self.most:
            more = f"more than prepare.max_broken: {self.most}"
            raise ValueError(f"{self.tree.path}: {self.count} broken images, {more}; the last is {name}: {reason}")


def _decode(tree: Tree, split: str, listing: Listing, size: int, broken: _Broken) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, size, size, 3) and labels (n,) of those that can be read, in the listing's order."""
    images = np.empty((len(listing.names), size, size, 3), np.uint8)
    readable = np.ones(len(images), dtype=bool)

    def fill(chunk: range) -> list[tuple[int, str]]:
        """Decodes some of them; (position, reason) of those that cannot be."""
        failed = []
        for i in chunk:
            try:
                images[i] = np.asarray(centre(decode(tree.read(listing.names[i])), size, (size, size)))
            except ValueError as error:
                failed.append((i, str(error)))
        return failed

    # Threads: Pillow decodes and resizes outside of Python's lock. Not for small images, which take less time than passing the
    # lock around: two threads needed 0.6 of one's time for photos of 256 pixels, and twice its time for 32 pixels.
    sizes = [tree.size(name) for name in listing.names[:100]]
    threads = None if sum(sizes) > SMALL * len(sizes) else 1
    chunks = [range(len(images))[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    pool = ThreadPoolExecutor(threads)
    try:
        with tqdm(total=len(images), desc=f"decoding {split}", unit="image", mininterval=1) as bar:
            for chunk, failed in zip(chunks, pool.map(fill, chunks), strict=True):
                for i, reason in failed:
                    readable[i] = False
                    broken.add(listing.names[i], reason)
                bar.update(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)
    if readable.all():
        return images, listing.labels
    return images[readable], listing.labels[readable]


def _repeated(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> int:
    """Val and test images that equal one of train: accuracy on them says nothing, so the user is told how many there are."""
    digests = {name: [hashlib.blake2b(image, digest_size=16).digest() for image in splits[name][0]] for name in SPLITS}
    train = set(digests["train"])
    count = sum(digest in train for name in ("val", "test") for digest in digests[name])
    if count:
        print(f"{path}: {count} images of val and test are also in train, pixel for pixel", file=sys.stderr, flush=True)
    return count
