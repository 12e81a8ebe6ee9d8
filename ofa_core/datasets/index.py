"""A small file that changes when the images do, so that DVC notices it without hashing them.

`prepare` depends on it instead of on the images: hashing a large set takes minutes each time DVC looks, the index of 100,000
files about a second. It has a line for each folder, with the number, bytes and newest change of the files right in it, and an
MD5 of their names, sizes and times. A line for each file would be megabytes in git.
"""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

from ofa_core.datasets.params import PrepareParams
from ofa_core.run import files, paths

HEAD = "# What lies at prepare.folder. Written by `ofa check`, `ofa profile` and the stage prepare, read by DVC."
CHECKED = {"fashion_mnist"}
"""Data sets whose files are checked by MD5 when they are read, so that their times say nothing."""


def write_index(params: PrepareParams, path: Path = paths.IMAGE_INDEX) -> bool:
    """Writes the index of the images that `params` names, if its content changed; returns whether it did.

    Only names, sizes and times are read. A file that is replaced by another one of its size and time goes unnoticed.
    On a machine without the images, an index that is there stays as it is.
    """
    if path.is_file() and params.dataset not in CHECKED and not params.source.exists():
        return False
    content = "\n".join([HEAD, *_lines(params)]) + "\n"
    if path.is_file() and path.read_text() == content:
        return False
    files.write_bytes(path, content.encode())
    return True


def _lines(params: PrepareParams) -> list[str]:
    if params.dataset in CHECKED:
        return [f"{params.dataset}: checked by MD5"]
    lines = [_file("class_names", Path(params.class_names))] if params.class_names is not None else []
    source = params.source
    if not source.is_dir():
        return [*lines, _file(source.name, source)]
    return lines + _folder(source.name or ".", source.resolve(), ())


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
