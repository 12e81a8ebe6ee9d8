"""How many planted copies of photos are found, what is found among untouched ones, and how long it takes.

    python -m benchmarks.near_duplicates ../shared/data/images [SHEET.png]

Copies have 60 to 90 % of the size, JPEG quality 60 to 90, and, in a second round, 2 to 3 % cut off. With SHEET, the pairs among
the untouched photos of the first archive are drawn, to be looked at.
"""

import sys
import time
from pathlib import Path

import numpy as np

from ofa_core.datasets.duplicates import Pairs, find_pairs
from ofa_core.datasets.thumbnails import thumbnail
from ofa_core.images.decode import decode
from ofa_core.sheets.sheet import Cell, contact_sheet
from tests.doctored import copied, photos_of

ARCHIVES = {"grocery_photos.zip": None, "imagenet_photos.zip": None, "cifar10_jpg.zip": 8000}
"""Archives, and how many of their photos are taken; None: all."""
COPIES = 500


def main(folder: Path, sheet: Path | None) -> None:
    """Prints a line for each archive, and one for random images."""
    for number, (archive, most) in enumerate(ARCHIVES.items()):
        contents = photos_of(folder / archive, most=most)
        names, originals = list(contents), list(contents.values())
        pictures = thumbnails(originals)
        untouched = find_pairs(pictures)
        print(f"{archive}: {len(names)} photos, {len(untouched.first)} pairs among them; recall", end="")
        for crop in (False, True):
            rng = np.random.default_rng(crop)
            chosen = np.sort(rng.permutation(len(names))[:COPIES])
            pairs = find_pairs(np.concatenate([pictures, thumbnails([copied(originals[i], rng, crop) for i in chosen])]))
            found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
            hits = sum((i, len(names) + k) in found for k, i in enumerate(chosen.tolist()))
            print(f" {hits} of {len(chosen)}{' cropped' * crop}", end="", flush=True)
        print()
        if sheet is not None and number == 0:
            sheet.write_bytes(drawn(untouched, names, originals))
    random = np.random.default_rng(0).integers(0, 256, (50_000, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    start = time.perf_counter()
    find_pairs(random)
    print(f"{len(random)} random images: {time.perf_counter() - start:.0f} s")


def thumbnails(contents: list[bytes]) -> np.ndarray:
    """uint8 (N, 32, 32, 3)."""
    return np.stack([thumbnail(decode(content)) for content in contents])


def drawn(pairs: Pairs, names: list[str], originals: list[bytes]) -> bytes:
    """A contact sheet of all pairs."""
    cells = [
        Cell([decode(originals[i]), decode(originals[j])], [f"{likeness:.3f}", names[i], names[j]])
        for i, j, likeness in zip(*pairs, strict=True)
    ]
    return contact_sheet(cells)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
