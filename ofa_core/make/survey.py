"""What lies in a folder of photos: classes, counts, sizes, colour, broken files, imbalance.

All files are counted, by name. Some hundred, drawn evenly from all classes, are decoded, as `prepare` decodes them.
"""

import math
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ofa_core.datasets.folders import ALL, FEWEST_IMAGES, Classes, find
from ofa_core.images.decode import SUFFIXES, decode, is_image
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

SAMPLE = 300
"""Most images that are decoded."""
FEWEST_TRAIN = 20
"""Fewest images to train on and hold out from. With fewer, not one of the pipeline's measurements says anything."""
MOST_BROKEN = 0.5
"""Share of broken images in the sample above which they are no set of photos."""
GREY = 3
"""Largest difference between the colours of a pixel, of 255, in a grey image. JPEG shifts them a little."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found. counts: images by split (train, and val and test if the folder has them) and class.

    ignored: files that are no images of a class. sampled, broken: images that were decoded, and those that could not be.
    shorter_sides: the smallest, the 10th percentile and the median of the shorter sides of the sample, in pixels.
    grey: share of the sample without colour. example: the first broken image and the reason, or None.
    decode_seconds: seconds of one core to read and decode one image.
    """

    counts: Mapping[str, Mapping[str, int]]
    ignored: int
    sampled: int
    broken: int
    shorter_sides: tuple[int, int, int]
    grey: float
    example: str | None
    decode_seconds: float

    def images(self, split: str) -> int:
        """The images of a split; 0 if the folder does not have it."""
        return sum(self.counts.get(split, {}).values())

    @property
    def total(self) -> int:
        """All images of all splits."""
        return sum(map(self.images, self.counts))

    @property
    def classes(self) -> list[str]:
        """Names of the classes, those of train."""
        return sorted(self.counts["train"])

    @property
    def extremes(self) -> tuple[str, str]:
        """The classes with the fewest and the most images in train."""
        counts = self.counts["train"]
        return min(counts, key=lambda name: (counts[name], name)), max(counts, key=lambda name: (counts[name], name))

    @property
    def imbalance(self) -> float:
        """How many times the images of the smallest class of train its largest has."""
        fewest, most = (self.counts["train"][name] for name in self.extremes)
        return most / fewest


class _Seen(NamedTuple):
    """One decoded image: its shorter side in pixels and whether it is grey; or the reason why it cannot be read."""

    shorter_side: int = 0
    grey: bool = False
    reason: str = ""


def survey(path: Path, sample: int = SAMPLE) -> Survey:
    """Looks at a folder or .zip archive of class folders, with or without train/, val/ and test/ above them.

    sample: most images that are decoded.
    Raises InputError, one line that names path or class: nothing there, not readable, no class folders with images, a single
    class, too few images, a class that train lacks, mostly broken images.
    """
    _check_readable(path)
    with Tree(path) as tree:
        if not any(map(is_image, tree.files)):
            raise InputError(f"{path}: no images ({', '.join(SUFFIXES)}) among {len(tree.files)} files")
        if not any(is_image(name) and "/" in name for name in tree.files):
            raise InputError(f"{path}: no class folders; put the photos of each class into a folder of its own")
        found = find(tree)
        found = {"train": found[ALL]} if ALL in found else found
        _check_classes(tree, found)
        names = _spread([names for classes in found.values() for names in classes.values()], sample)
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:  # one thread: its time is that of a core
            seen = list(pool.map(lambda name: _look(tree, name), names))
        seconds = (time.perf_counter() - started) / len(names)
        good = [one for one in seen if not one.reason]
        broken = [f"{tree.full(name)}: {one.reason}" for name, one in zip(names, seen, strict=True) if one.reason]
        if len(broken) > MOST_BROKEN * len(seen):
            raise InputError(f"{path}: {len(broken)} of {len(seen)} images cannot be read, such as {broken[0]}")
        images = sum(len(names) for classes in found.values() for names in classes.values())
        ignored = len(tree.files) - images + tree.hidden_files
    low, tenth, median = (int(side) for side in np.percentile([one.shorter_side for one in good], [0, 10, 50]))
    return Survey(
        counts={split: {name: len(names) for name, names in classes.items()} for split, classes in found.items()},
        ignored=ignored,
        sampled=len(seen),
        broken=len(broken),
        shorter_sides=(low, tenth, median),
        grey=sum(one.grey for one in good) / len(good),
        example=broken[0] if broken else None,
        decode_seconds=seconds,
    )


def _check_readable(path: Path) -> None:
    """`Tree` skips folders that it may not read, so classes would be missing silently."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}")

    if not path.exists():
        raise InputError(f"{path}: no such folder or .zip archive")
    if path.is_dir():
        for _ in os.walk(path, onerror=refuse):
            pass
        return
    try:
        path.open("rb").close()
    except OSError as error:
        refuse(error)


def _check_classes(tree: Tree, found: Mapping[str, Classes]) -> None:
    """Raises InputError for what `prepare` would refuse later, and for too few images."""
    if "train" not in found:
        raise InputError(f"{tree.path}: has {', '.join(found)} but no train")
    train = found["train"]
    if len(train) < 2:
        raise InputError(f"{tree.path}: only one class, {next(iter(train))}; at least two are needed")
    few = [name for name, names in train.items() if len(names) < FEWEST_IMAGES]
    if few:
        raise InputError(
            f"{tree.path}: class {few[0]} has only {len(train[few[0]])} images to train on; at least {FEWEST_IMAGES} are needed"
        )
    if (total := sum(map(len, train.values()))) < FEWEST_TRAIN:
        raise InputError(f"{tree.path}: only {total} images to train on; at least {FEWEST_TRAIN} are needed")
    for split, classes in found.items():
        if others := sorted(set(classes) - set(train)):
            raise InputError(f"{tree.path}: {split} has a class that train lacks: {others[0]}")


def _spread(groups: list[list[str]], count: int) -> list[str]:
    """Up to `count` names, evenly from all groups and evenly over each."""
    share = math.ceil(count / len(groups))
    picked = [[names[i] for i in np.linspace(0, len(names) - 1, min(share, len(names))).astype(int)] for names in groups]
    return [name for name in chain.from_iterable(zip_longest(*picked)) if name is not None][:count]


def _look(tree: Tree, name: str) -> _Seen:
    try:
        image = decode(tree.read(name))
    except InputError as error:
        return _Seen(reason=str(error))
    small = np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int)  # (32, 32, 3)
    return _Seen(min(image.size), bool((small.max(-1) - small.min(-1)).max() <= GREY))
