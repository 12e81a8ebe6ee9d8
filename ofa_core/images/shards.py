"""Data sets that do not fit in memory: square images of one size as PNG or JPEG files, in tar archives of some hundred MB.

The format is that of WebDataset (https://github.com/webdataset/webdataset). For image 7, `train-0000007.png` is followed by
`train-0000007.cls`, its label as text. Any tar reader can use the archives. There are a few dozen of them, because DVC needs
hours to hash and move millions of small files. The offset of each image is stored with the labels, so images can be read in any
order.
"""

import os
import shutil
import tarfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ofa_core.images.decode import decode
from ofa_core.run import files
from ofa_core.run.errors import InputError

MOST_BYTES = 512 * 2**20
"""Largest size of a shard in bytes."""
ENCODINGS: dict[str, dict[str, Any]] = {"png": {"compress_level": 3}, "jpeg": {"quality": 92}}
"""Formats of stored images and Pillow's options. png is lossless; jpeg takes a fifth of the bytes and little of the time."""
CHUNK = 8
"""Images that a thread reads at a time."""
SMALL = 4096
"""Size of a stored image in bytes below which one thread decodes as fast as several."""
MANIFEST = "manifest.json"
"""File beside the shards that lists name, MD5, bytes, split and number of images of each shard."""


def folder_of(packed: str | Path) -> Path:
    """The folder of the shards of a packed data set."""
    return Path(packed).with_name("shards")


class Stored(NamedTuple):
    """Locations of the images of a split.

    names, sizes, md5: one entry per shard, sizes in bytes. places: int64 (N, 3), the shard index, first byte and number of
    bytes of each image. side: height and width in pixels of the images, which are square and in colour.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    md5: tuple[str, ...]
    places: np.ndarray
    side: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape (N, S, S, 3) of the images as one array."""
        return len(self.places), self.side, self.side, 3


class ShardWriter:
    """Writes a folder of shards, completely or not at all. Use it in a `with` statement. Equal images give equal bytes.

    kind: a key of `ENCODINGS`. side: height and width of the images in pixels.
    """

    def __init__(self, folder: Path, kind: str, side: int, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.kind, self.side, self.most_bytes = folder, kind, side, most_bytes
        self._temporary = folder.with_name(f".{folder.name}.tmp")
        self._tar: tarfile.TarFile | None = None
        self._shards: list[dict[str, Any]] = []
        self._places: dict[str, list[tuple[int, int, int]]] = {}

    def __enter__(self) -> "ShardWriter":
        shutil.rmtree(self._temporary, ignore_errors=True)  # left by a run that was killed
        self._temporary.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._close()
            if error is None:
                manifest = {"format": self.kind, "side": self.side, "shards": self._shards}
                files.write_json(self._temporary / MANIFEST, manifest)
                shutil.rmtree(self.folder, ignore_errors=True)
                self._temporary.rename(self.folder)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def encode(self, pixels: np.ndarray) -> bytes:
        """The stored bytes of an image uint8 (S, S, 3). Thread-safe."""
        content = BytesIO()
        Image.fromarray(pixels).save(content, self.kind, **ENCODINGS[self.kind])
        return content.getvalue()

    def add(self, split: str, content: bytes, label: int) -> None:
        """Appends an encoded image to the shards of a split. Finish one split before the next."""
        places = self._places.setdefault(split, [])
        full = self._tar is not None and self._tar.offset + len(content) > self.most_bytes
        if self._tar is None or full or self._shards[-1]["split"] != split:
            self._close()
            number = sum(shard["split"] == split for shard in self._shards)
            self._shards.append({"name": f"{split}-{number:05}.tar", "split": split, "images": 0})
            self._tar = tarfile.open(  # noqa: SIM115
                self._temporary / self._shards[-1]["name"], "w", format=tarfile.USTAR_FORMAT
            )
        name = f"{split}-{len(places):07}"
        places.append((len(self._shards) - 1, self._tar.offset + tarfile.BLOCKSIZE, len(content)))
        for suffix, data in ((self.kind, content), ("cls", str(label).encode())):
            member = tarfile.TarInfo(f"{name}.{suffix}")  # time, owner and permissions are constants
            member.size = len(data)
            self._tar.addfile(member, BytesIO(data))
        self._tar.members.clear()  # type: ignore[attr-defined]  # otherwise all headers of a shard stay in memory
        self._shards[-1]["images"] += 1

    def stored(self, split: str) -> Stored:
        """The locations of a split's images. Call it after the `with` block."""
        names, sizes, md5 = (tuple(shard[key] for shard in self._shards) for key in ("name", "bytes", "md5"))
        places = np.array(self._places.get(split, []), dtype=np.int64).reshape(-1, 3)
        return Stored(names, sizes, md5, places, self.side)

    def _close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            path = self._temporary / self._shards[-1]["name"]
            self._shards[-1] |= {"bytes": path.stat().st_size, "md5": files.md5(path)}
            self._tar = None


class Shards:
    """The images of a split in shards, indexed like an array uint8 (N, S, S, 3). They are read on demand.

    folder: the folder of the shards.

    Raises InputError, naming the shard, if a shard is missing or has the wrong length. Indexing raises it for a broken image.
    """

    def __init__(self, folder: Path, stored: Stored) -> None:
        self.folder, self.stored = folder, stored
        self._files = _Files(folder, stored)
        self._set_side(None)

    def _set_side(self, resolution: int | None) -> None:
        self.resolution = resolution
        side = resolution or self.stored.side
        self.shape, self.ndim, self.dtype = (len(self.stored.places), side, side, 3), 4, np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.stored.places)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        return self.begin(np.arange(len(self))[index])()

    def resized(self, resolution: int) -> "Shards":
        """The same images at a resolution."""
        same = copy(self)  # with the same open files and threads
        same._set_side(resolution)
        return same

    def begin(self, indices: np.ndarray) -> Callable[[], np.ndarray]:
        """Starts reading images in other threads. Call the result to wait for them; it returns uint8 (n, S, S, 3)."""
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)

        def fill(first: int) -> None:
            for i in range(first, min(first + CHUNK, len(indices))):
                images[i] = self._read(int(indices[i]))

        parts = [self._files.pool.submit(fill, first) for first in range(0, len(indices), CHUNK)]

        def finish() -> np.ndarray:
            for part in parts:
                part.result()
            return images

        return finish

    def _read(self, i: int) -> np.ndarray:
        shard, first, size = self.stored.places[i].tolist()
        try:
            image = decode(os.pread(self._files.opened[shard], size, first))
        except (OSError, InputError) as error:
            raise InputError(f"{self.folder / self.stored.names[shard]}: image {i} at byte {first}: {error}") from None
        if image.size != (self.stored.side, self.stored.side):
            raise InputError(f"{self.folder / self.stored.names[shard]}: image {i} at byte {first}: has the size {image.size}")
        if self.resolution is not None:
            image = image.resize((self.resolution, self.resolution), Image.Resampling.BILINEAR)
        return np.asarray(image)


class _Files:
    """The open shards of a split by index, and the threads that read them."""

    def __init__(self, folder: Path, stored: Stored) -> None:
        self.opened: dict[int, int] = {}
        weakref.finalize(self, _close, self.opened)
        for index in np.unique(stored.places[:, 0]).tolist():
            path, size = folder / stored.names[index], stored.sizes[index]
            try:
                self.opened[index] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from None
            found = os.fstat(self.opened[index]).st_size
            if found != size:
                raise InputError(f"{path}: {found} bytes; the data set says {size}")
        small = stored.places[:, 2].mean() < SMALL
        self.pool = ThreadPoolExecutor(1 if small else os.cpu_count(), thread_name_prefix="shards")


def _close(opened: dict[int, int]) -> None:
    for descriptor in opened.values():
        os.close(descriptor)
