"""Your own images: class folders, either alone or below train/, val/ and test/, in a folder or a .zip archive.

This is the layout of torchvision's ImageFolder and of unpacked ImageNet. Images are drawn first and decoded once, so a small
part of a large set takes little time. Files that cannot be read are reported and left out.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ofa_core.datasets import faults
from ofa_core.datasets.class_names import rename
from ofa_core.datasets.decoding import Broken, Decoded, Listing, decode_split, repeated, shard_split
from ofa_core.datasets.thumbnails import Thumbnails
from ofa_core.images.decode import SUFFIXES, is_image
from ofa_core.images.packed import SPLITS, draw
from ofa_core.images.shards import ShardWriter, Stored
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

if TYPE_CHECKING:  # `ofa eval` reads folders where pydantic is not installed
    from ofa_core.datasets.params import PrepareParams

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Split by folder name in lower case."""
ALL = "all"
"""The only split of a tree that has just class folders."""
FEWEST_IMAGES = 3
"""Fewest images of a class: one each for train, val and test."""
Classes = dict[str, list[str]]
"""Images by class name, sorted."""


class Loaded(NamedTuple):
    """splits: images uint8 (N, s, s, 3) or their locations, and labels int64 (N,), of train, val and test.
    names: of the images in the folder, by split, in their order; empty if they have none.
    counts: metrics of what was left out or is wrong. faults: what is wrong by file name. sheets: PNGs of it by file name."""

    splits: dict[str, tuple[np.ndarray | Stored, np.ndarray]]
    classes: tuple[str, ...]
    names: dict[str, list[str]]
    counts: dict[str, int]
    faults: dict[str, Any]
    sheets: dict[str, bytes]


def load(params: "PrepareParams", seed: int, layout: Callable[[Tree], dict[str, Classes]], shards: Path) -> Loaded:
    """Reads the images of the folder or .zip archive `params.folder`, resized and cropped to squares of `params.image_size`.

    Images are drawn in proportion to the classes. A missing val or test is held out of train; its number of images must then be
    given. layout: finds the images of a tree by split and class, such as `find`.
    shards: the folder to write if `params.shards` is set.

    Raises InputError, one line naming path or parameter: no such folder, no images, only one class, a class without images or
    with fewer than `FEWEST_IMAGES`, a class that train lacks, fewer images than requested, too many broken images, images of
    val or test in train.
    """
    path, size = params.source, params.image_size or 0
    with Tree(path) as tree:
        classes, listings = _label(tree, layout(tree))
        shown = classes if params.class_names is None else rename(classes, params.class_names)
        ignored = _report_ignored(tree, sum(len(listing.names) for listing in listings.values()))
        chosen = _choose(tree, listings, params.images, seed)
        _check_train(
            chosen["train"].labels, classes, f"{path}: no train image is left for class", "; hold out fewer, or take more"
        )
        broken, thumbnails = Broken(tree, params.max_broken), Thumbnails()
        drawn = [name for name in SPLITS if name not in listings]
        images: dict[str, np.ndarray | Stored] = {}
        decoded: dict[str, Decoded] = {}
        if params.shards is None:
            for name in SPLITS:
                images[name], decoded[name] = decode_split(tree, name, chosen[name], size, broken, thumbnails)
            found, kept = _check(params, decoded, thumbnails, classes, drawn)
        else:
            with ShardWriter(shards, params.shards, size) as writer:
                for name in SPLITS:
                    decoded[name] = shard_split(tree, name, chosen[name], size, broken, thumbnails, writer)
                found, kept = _check(params, decoded, thumbnails, classes, drawn)
            images = {name: writer.stored(name) for name in SPLITS}
        sheets = faults.sheets(found, tree)
    left_out = {"ignored_files": ignored, "broken_images": broken.count}
    left_out["repeated_images"] = repeated(path, {name: half.digests for name, half in decoded.items()})
    splits = {name: (images[name], decoded[name].labels) for name in SPLITS}
    left_out["dropped_images"] = int((~kept).sum())
    names = {name: decoded[name].names for name in SPLITS}
    if not kept.all():
        splits["train"] = _taken(images["train"], kept), decoded["train"].labels[kept]
        names["train"] = [name for name, stays in zip(names["train"], kept, strict=True) if stays]
    return Loaded(splits, shown, names, left_out | faults.counts(found), faults.listing(found), sheets)


def find(tree: Tree) -> dict[str, Classes]:
    """The images of a tree by split and class. Splits are train, val and test, or `ALL` if there are only class folders.

    Top folders that contain just one other folder, as in many archives, are skipped. Images may be at any depth below their
    class. Raises InputError, naming a folder: no class folders, a class without images, or a split that appears twice.
    """
    top = top_of(tree)
    folders = below(tree, top)
    splits = [name for name in folders if name.lower() in SPLIT_FOLDERS]
    if not splits:
        return {ALL: classes_of(tree, top)}
    found: dict[str, Classes] = {}
    for name in splits:
        split = SPLIT_FOLDERS[name.lower()]
        if split in found:
            raise InputError(f"{tree.full(top + name)}: a second folder for the split {split}")
        found[split] = classes_of(tree, f"{top}{name}/")
    return found


def top_of(tree: Tree) -> str:
    """The folder to start from, below all folders that contain just one other folder. It is "" or ends with a slash."""
    top = ""
    while True:
        folders = below(tree, top)
        deeper = [f"{top}{name}/" for name in folders]
        if len(folders) != 1 or folders[0].lower() in SPLIT_FOLDERS or not below(tree, deeper[0]):
            return top
        top = deeper[0]


def below(tree: Tree, top: str) -> list[str]:
    """Names of the folders directly below `top`, which is "" or ends with a slash."""
    return [name[len(top) :] for name in tree.folders if name.startswith(top) and "/" not in name[len(top) :]]


def classes_of(tree: Tree, top: str) -> Classes:
    """The class folders of `top`. Raises InputError, naming a folder, if there are none or a class has no images."""
    classes: Classes = {name: [] for name in below(tree, top)}
    for name in tree.files:
        label, slash, _ = name.removeprefix(top).partition("/")
        if name.startswith(top) and slash and is_image(name):
            classes[label].append(name)
    if not any(classes.values()):
        raise InputError(f"{tree.full(top)}: no images in class folders ({', '.join(SUFFIXES)})")
    for label, names in classes.items():
        if not names:
            raise InputError(f"{tree.full(top + label)}: a class without images ({', '.join(SUFFIXES)})")
    return classes


def _label(tree: Tree, found: dict[str, Classes]) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """The class names (those of train), and each split with its labels."""
    if ALL in found:
        found = {"train": found[ALL]}
    if "train" not in found:
        raise InputError(f"{tree.path}: has {', '.join(found)} but no train")
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise InputError(f"{tree.path}: only one class, {classes[0]}")
    for names in found["train"].values():
        if len(names) < FEWEST_IMAGES:
            raise InputError(f"{tree.full(names[0].rpartition('/')[0])}: {len(names)} images; a class needs {FEWEST_IMAGES}")
    index = {label: i for i, label in enumerate(classes)}
    listings = {}
    for split, by_class in found.items():
        for label, names in by_class.items():
            if label not in index:
                raise InputError(f"{tree.full(names[0].rpartition('/')[0])}: train has no class {label}")
        names = [name for label in sorted(by_class) for name in by_class[label]]
        labels = [index[label] for label in sorted(by_class) for _ in by_class[label]]
        listings[split] = Listing(names, np.array(labels, dtype=np.int64))
    return classes, listings


def _report_ignored(tree: Tree, images: int) -> int:
    """Number of files that are not images of a class. Reports them on stderr by suffix."""
    others = Counter(Path(name).suffix.lower() or "no suffix" for name in tree.files if not is_image(name))
    outside = len(tree.files) - images - others.total()
    kinds = [f"{count} {suffix}" for suffix, count in others.most_common(5)]
    kinds += [f"{tree.hidden_files} hidden"] if tree.hidden_files else []
    kinds += [f"{outside} images outside of class folders"] if outside else []
    if kinds:
        print(f"{tree.path}: ignored files: {', '.join(kinds)}", file=sys.stderr, flush=True)
    return others.total() + outside + tree.hidden_files


def _choose(tree: Tree, listings: dict[str, Listing], images: Mapping[str, int], seed: int) -> dict[str, Listing]:
    """The images to decode. train and val are in random order, so any first part is a fair sample; test keeps tree order."""
    chosen: dict[str, Listing] = {}
    train = listings["train"]
    held_out: list[str] = []
    for split in ("test", "val"):
        if split in listings:
            chosen[split] = listings[split].take(_draw(listings[split], split, images, seed)[0])
        elif images[split]:
            some, rest = _draw(train, split, images, seed, held_out)
            chosen[split], train = train.take(some), train.take(rest)
            held_out.append(f"{split}_images: {images[split]}")
        else:
            raise InputError(f"prepare.{split}_images: 0 means all, but {tree.path} has no {split}; give a number")
    chosen["train"] = train.take(_draw(train, "train", images, seed, held_out)[0])
    chosen["test"] = chosen["test"].take(np.argsort(chosen["test"].names, kind="stable"))
    return chosen


def _draw(
    listing: Listing, split: str, images: Mapping[str, int], seed: int, held_out: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """`draw` for a split. held_out: parameters that took images away before, for the message."""
    try:
        return draw(listing.labels, images[split] or len(listing.labels), seed)
    except InputError as error:
        before = f" without {' and '.join(held_out)}" if held_out else ""
        raise InputError(f"prepare.{split}_images: {error}{before}") from None


def _check_train(labels: np.ndarray, classes: tuple[str, ...], before: str, after: str) -> None:
    for label, count in enumerate(np.bincount(labels, minlength=len(classes))):
        if not count:
            raise InputError(f"{before} {classes[label]}{after}")


def _check(
    params: "PrepareParams",
    decoded: Mapping[str, Decoded],
    thumbnails: Thumbnails,
    classes: tuple[str, ...],
    drawn: Sequence[str],
) -> tuple[faults.Faults, np.ndarray]:
    """The faults of the images, and which train images stay, bool. Raises InputError for faults that stop the stage.

    drawn: splits that were held out of train.
    """
    _check_readable(params.source, {name: half.labels for name, half in decoded.items()}, classes)
    found = faults.find_faults(decoded, thumbnails, params.image_size or 0, drawn)
    if params.leaks == "stop":
        faults.stop_at_leaks(found, params.source)
    kept = ~found.dropped(params.leaks)
    before = f"{params.source}: without near-duplicates of val and test, no train image is left for class"
    _check_train(decoded["train"].labels[kept], classes, before, "")
    return found, kept


def _taken(images: np.ndarray | Stored, kept: np.ndarray) -> np.ndarray | Stored:
    """Some of the images; those in shards stay there, but nothing points to them."""
    return images._replace(places=images.places[kept]) if isinstance(images, Stored) else images[kept]


def _check_readable(path: Path, labels: Mapping[str, np.ndarray], classes: tuple[str, ...]) -> None:
    _check_train(labels["train"], classes, f"{path}: none of the train images can be read for class", "")
    for name in SPLITS:
        if not len(labels[name]):
            raise InputError(f"{path}: none of the {name} images can be read")
