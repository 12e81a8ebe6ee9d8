"""The binary version of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html).

Images are 32 x 32 colour photos. A record is one label (CIFAR-100: two labels, coarse then fine) followed by the red, green and
blue planes. The Python version of these sets is pickled. Reading it could run arbitrary code, so it is refused.
"""

import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ofa_core.datasets.arrays import Arrays, check_labels
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

SIDE = 32
PICKLED = ("data_batch_1", "cifar-100-python", "cifar-10-batches-py")
"""Names that identify the Python version."""


class Version(NamedTuple):
    """Files of one of the two sets. labels: number of labels per record; only the last is used."""

    train: tuple[str, ...]
    test: str
    names: str
    labels: int


VERSIONS = (
    Version(tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt", 1),
    Version(("train.bin",), "test.bin", "fine_label_names.txt", 2),
)


def load(path: Path) -> Arrays:
    """Reads either set from its .tar.gz archive, unpacked or not, or a .zip archive.

    Raises InputError, one line naming the file: not a CIFAR set, a missing file, an incomplete record, a label out of range, or
    the Python version.
    """
    content = _files(path)
    version = next((version for version in VERSIONS if set(version.train) & set(content)), None)
    if version is None:
        if any(part in content or part in path.name for part in PICKLED):
            raise InputError(f"{path}: the pickled version of CIFAR can run arbitrary code; use the binary version")
        raise InputError(f"{path}: neither data_batch_1.bin nor train.bin of CIFAR's binary version found")
    missing = [name for name in (*version.train, version.test, version.names) if name not in content]
    if missing:
        raise InputError(f"{path}: {missing[0]} missing")
    classes = tuple(content[version.names].decode("utf-8", "replace").split())
    halves = []
    for names in (version.train, (version.test,)):
        parts = [_records(content[name], path / name, version.labels, len(classes)) for name in names]
        halves += [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    return Arrays(halves[0], halves[1], halves[2], halves[3], classes)


def _records(content: bytes, path: Path, labels: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 32, 32, 3) and labels int64 (n,)."""
    length = labels + 3 * SIDE * SIDE
    if not content or len(content) % length:
        raise InputError(f"{path}: {len(content)} bytes are not a whole number of records of {length}")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    wanted = records[:, labels - 1].astype(np.int64)
    check_labels(wanted, classes, path)
    return records[:, labels:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), wanted


def _files(path: Path) -> dict[str, bytes]:
    """Contents of all files by name without folders. Only .bin and .txt files are read; others are empty."""
    if path.is_file() and path.suffix.lower() != ".zip":
        try:
            with tarfile.open(path) as archive:
                members = [member for member in archive if member.isfile()]
                return {_base(m.name): archive.extractfile(m).read() if _wanted(m.name) else b"" for m in members}  # type: ignore[union-attr]
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: not a whole .tar.gz archive ({error})") from None
    with Tree(path) as tree:
        try:
            return {_base(name): tree.read(name) if _wanted(name) else b"" for name in tree.files}
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _wanted(name: str) -> bool:
    return name.endswith((".bin", ".txt"))
