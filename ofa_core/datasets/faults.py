"""What is wrong with the images of a folder: leaks between splits, near-duplicates, tiny and blank images."""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from ofa_core.datasets.decoding import SHOWN, Decoded
from ofa_core.datasets.duplicates import Pairs, blank, find_pairs, groups
from ofa_core.datasets.thumbnails import Thumbnails
from ofa_core.images.decode import decode
from ofa_core.images.packed import SPLITS
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError
from ofa_core.sheets.sheet import Cell, contact_sheet

LISTED, PICTURED = 100, 24
"""Most entries of a list in the report, and most cells of a sheet."""
TRAIN = SPLITS.index("train")


class Faults(NamedTuple):
    """Faults of N images, those of train, val and test one after the other.

    names: in the tree. splits: int64 (N,), indices into SPLITS. labels: int64 (N,). pairs: near-duplicates.
    tiny, blank: bool (N,), smaller than they are stored, and showing nothing. drawn: splits that are not the folder's own, but
    were drawn from train.
    """

    names: list[str]
    splits: np.ndarray
    labels: np.ndarray
    pairs: Pairs
    tiny: np.ndarray
    blank: np.ndarray
    drawn: Collection[str]

    @property
    def leaks(self) -> Pairs:
        """Pairs of a train image and a val or test image."""
        return self.pairs.take(self._leaking())

    @property
    def duplicates(self) -> Pairs:
        """All other pairs. Those whose labels differ come first: one of the two labels is wrong."""
        pairs = self.pairs.take(~self._leaking())
        return pairs.take(np.argsort(self.labels[pairs.first] == self.labels[pairs.second], kind="stable"))

    def dropped(self, leaks: Literal["stop", "drop", "report"]) -> np.ndarray:
        """Which train images to leave out, bool (number of train images,): those in a group of near-duplicates with others.

        With stop, only with images that were drawn from train: that they are apart is no fault of the folder. With drop, with
        all of val and test. With report, none.
        """
        group = groups(self.pairs, len(self.names))
        from_splits = {"stop": self.drawn, "drop": SPLITS[1:], "report": ()}[leaks]
        others = np.isin(self.splits, [SPLITS.index(split) for split in from_splits])
        return np.isin(group[self.splits == TRAIN], group[others])

    def _leaking(self) -> np.ndarray:
        return (self.splits[self.pairs.first] == TRAIN) != (self.splits[self.pairs.second] == TRAIN)


def find_faults(decoded: Mapping[str, Decoded], thumbnails: Thumbnails, size: int, drawn: Collection[str]) -> Faults:
    """The faults of the readable images of all splits.

    size: side in pixels of the stored images. drawn: splits that were drawn from train.
    """
    halves = [decoded[name] for name in SPLITS]
    return Faults(
        names=[name for half in halves for name in half.names],
        splits=np.repeat(np.arange(len(SPLITS)), [len(half.digests) for half in halves]),
        labels=np.concatenate([half.labels for half in halves]),
        pairs=find_pairs(thumbnails),
        tiny=np.concatenate([np.array(half.shorter_sides, dtype=np.int64) for half in halves]) < size,
        blank=blank(thumbnails),
        drawn=drawn,
    )


def stop_at_leaks(faults: Faults, path: Path) -> None:
    """If there are leaks between splits of the folder itself: lists them on stderr, then raises InputError."""
    leaks = faults.leaks
    leaks = leaks.take(~np.isin(faults.splits[leaks.second], [SPLITS.index(split) for split in faults.drawn]))
    if not len(leaks.first):
        return
    for entry in _entries(faults, leaks)[:SHOWN]:
        print(f"{path}: leak: {' = '.join(entry['images'])}", file=sys.stderr, flush=True)
    held_out = len(np.unique(leaks.second))  # train comes first, so the second image is of val or test
    first = " and ".join(_entries(faults, leaks)[0]["images"])
    raise InputError(
        f"{path}: {held_out} images of val and test have near-duplicates in train, the first are {first}; "
        "remove them, or set prepare.leaks to drop or report"
    )


def counts(faults: Faults) -> dict[str, int]:
    """Numbers for the report: images of val and test that leak, pairs of near-duplicates otherwise, tiny and blank images."""
    duplicates = faults.duplicates
    return {
        "leaked_images": len(np.unique(faults.leaks.second)),
        "duplicate_pairs": len(duplicates.first),
        "conflicting_pairs": int((faults.labels[duplicates.first] != faults.labels[duplicates.second]).sum()),
        "tiny_images": int(faults.tiny.sum()),
        "blank_images": int(faults.blank.sum()),
    }


def listing(faults: Faults) -> dict[str, Any]:
    """The faults by file name, at most `LISTED` of each kind."""
    singles = {kind: [faults.names[i] for i in np.flatnonzero(mask)[:LISTED]] for kind, mask in _singles(faults).items()}
    pairs = {"leaks": _entries(faults, faults.leaks), "duplicates": _entries(faults, faults.duplicates)}
    return {"checked": True, **pairs, **singles}


def sheets(faults: Faults, tree: Tree) -> dict[str, bytes]:
    """Contact sheets (PNG) by file name, at most `PICTURED` cells each: of pairs, leaks first, and of blank and tiny images."""
    found = {}
    pairs = [("leak", entry) for entry in _entries(faults, faults.leaks)]
    pairs += [("duplicate", entry) for entry in _entries(faults, faults.duplicates)]
    if pairs:
        cells = []
        for kind, entry in pairs[:PICTURED]:
            title = f"{kind} {entry['likeness']}: {' and '.join(entry['splits'])}"
            cells.append(Cell([_image(tree, name) for name in entry["images"]], [title, *entry["images"]]))
        found["duplicates.png"] = contact_sheet(cells)
    singles = [(kind, i) for kind, mask in _singles(faults).items() for i in np.flatnonzero(mask)[: PICTURED // 2]]
    if singles:
        cells = [Cell([_image(tree, faults.names[i])], [kind, faults.names[i]]) for kind, i in singles]
        found["tiny_and_blank.png"] = contact_sheet(cells)
    return found


def _singles(faults: Faults) -> dict[str, np.ndarray]:
    return {"blank": faults.blank, "tiny": faults.tiny}


def _entries(faults: Faults, pairs: Pairs) -> list[dict[str, Any]]:
    return [
        {
            "images": [faults.names[i], faults.names[j]],
            "splits": [SPLITS[faults.splits[i]], SPLITS[faults.splits[j]]],
            "likeness": round(float(likeness), 2),
        }
        for i, j, likeness in zip(*pairs.take(np.arange(min(LISTED, len(pairs.first)))), strict=True)
    ]


def _image(tree: Tree, name: str) -> Image.Image:
    return decode(tree.read(name))
