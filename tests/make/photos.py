"""Real photos for the tests of `ofa make`."""

import zipfile
from pathlib import Path

from tests.conftest import shared_data


def some(folder: Path, per_class: int, classes: tuple[str, ...] = ("dog", "frog", "truck")) -> Path:
    """A folder with the first images of classes of CIFAR-10, JPEG files of 32 pixels. Skips without the shared data."""
    counts = dict.fromkeys(classes, 0)
    with zipfile.ZipFile(shared_data("images/cifar10_jpg.zip")) as archive:
        for name in archive.namelist():
            split, _, rest = name.partition("/")
            label, _, file = rest.partition("/")
            if split == "train" and file and counts.get(label, per_class) < per_class:
                counts[label] += 1
                (folder / label).mkdir(parents=True, exist_ok=True)
                (folder / label / file).write_bytes(archive.read(name))
    return folder
