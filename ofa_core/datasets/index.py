"""A small file that changes when the images do, so that DVC notices it without hashing them.

`prepare` depends on it instead of on the images: hashing a large set takes minutes each time DVC looks, the index of 100,000
files about a second. It has a line for each folder, with the number, bytes and newest change of the files right in it, and an
MD5 of their names, sizes and times. A line for each file would be megabytes in git.
"""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

from ofa_core.datasets.detection_params import PrepareDetectionParams
from ofa_core.datasets.params import PrepareParams
from ofa_core.run import files, paths

HEAD = "# What lies at prepare.folder. Written by `ofa check`, `ofa profile` and the stage prepare, read by DVC."
DETECTION_HEAD = "# What lies at prepare_detection.folder. Written as data/images.index is, and by the stage prepare_detection."
FIXED = {"fashion_mnist": "checked by MD5", "scenes": "made of build/data/classification.npz"}
"""Data sets whose files need no index, and why."""


def write_index(params: PrepareParams, path: Path = paths.IMAGE_INDEX) -> bool:
    """Writes the index of the images that `params` names, if its content changed; returns whether it did.

    Only names, sizes and times are read. A file that is replaced by another one of its size and time goes unnoticed.
    On a machine without the images, an index that is there stays as it is.
    """
    names = [_file("class_names", Path(params.class_names))] if params.class_names is not None else []
    return _write(path, HEAD, params.dataset, names, [params.source])


def write_detection_index(params: PrepareDetectionParams, path: Path = paths.DETECTION_INDEX) -> bool:
    """Like `write_index`, for the images and annotations of detection."""
    unlabelled = [] if params.unlabelled_folder is None else [Path(params.unlabelled_folder)]
    return _write(path, DETECTION_HEAD, params.dataset, [], [params.source, *unlabelled])


def _write(path: Path, head: str, dataset: str, lines: list[str], sources: list[Path]) -> bool:
    fixed = FIXED.get(dataset)
    if path.is_file() and fixed is None and not all(source.exists() for source in sources):
        return False
    lines = [f"{dataset}: {fixed}"] if fixed else lines + [line for source in sources for line in _source(source)]
    content = "\n".join([head, *lines]) + "\n"
    if path.is_file() and path.read_text() == content:
        return False
    files.write_bytes(path, content.encode())
    return True


def _source(source: Path) -> list[str]:
    return _folder(source.name or ".", source.resolve(), ()) if source.is_dir() else [_file(source.name, source)]


def _file(name: str, path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{name}: not there"
    return f"{name}: {status.st_size} bytes, {_time(status.st_mtime_ns)}"


def _folder(name: str, path: Path, above: tuple[tuple[int, int], ...]) -> list[str]:
    """The lines of a folder and those below it, sorted by name; hidden files are left out, links are followed."""
    status = path.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder above itself
        return []
    found, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                folders.append(entry.name)
            else:
                found.append((entry.name, *_size_and_time(entry)))
    lines = []
    if found:
        found.sort()
        digest = hashlib.md5(repr(found).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
        size, newest = sum(entry[1] for entry in found), max(entry[2] for entry in found)
        lines = [f"{name}: {len(found)} files, {size} bytes, {_time(newest)}, {digest}"]
    for folder in sorted(folders):
        lines += _folder(f"{name}/{folder}", path / folder, (*above, here))
    return lines


def _size_and_time(entry: "os.DirEntry[str]") -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _time(nanoseconds: int) -> str:
    """UTC, with the fraction of the second that two quick edits differ by."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"
