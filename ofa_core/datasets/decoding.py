"""Decodes the images of a set in threads, and reports those that cannot be read."""

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from ofa_core.datasets.thumbnails import Thumbnails, thumbnail
from ofa_core.images.decode import centre, decode
from ofa_core.images.shards import ShardWriter
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

S = TypeVar("S")
T = TypeVar("T")
SHOWN = 20
"""Most broken images that are reported one by one."""
CHUNK = 64
"""Images that a thread decodes at a time."""
SMALL = 8192
"""File size in bytes below which one thread decodes as fast as several."""


class Listing(NamedTuple):
    """Images of a split: names in a tree, and labels int64 (N,)."""

    names: list[str]
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Listing":
        """The images at `indices`, in that order."""
        return Listing([self.names[i] for i in indices], self.labels[indices])


class Look(NamedTuple):
    """What is kept of a decoded image to compare it with others.

    digest: of the stored pixels. thumbnail: uint8 (32, 32, 3), the whole image squeezed to a square. shorter_side: in pixels,
    before resizing.
    """

    digest: bytes
    thumbnail: np.ndarray
    shorter_side: int


class Decoded:
    """What is known of the readable images of a split, in order: names, labels int64 (n,) and their `Look`s.

    thumbnails: where to add theirs, behind those of the splits before.
    """

    def __init__(self, listing: Listing, thumbnails: Thumbnails) -> None:
        self._listing, self._thumbnails = listing, thumbnails
        self._places: list[int] = []
        self.digests: list[bytes] = []
        self.shorter_sides: list[int] = []

    def add(self, place: int, look: Look) -> None:
        """Adds the image at a place of the listing."""
        self._thumbnails.append(look.thumbnail)
        self._places.append(place)
        self.digests.append(look.digest)
        self.shorter_sides.append(look.shorter_side)

    @property
    def names(self) -> list[str]:
        """Names in the tree."""
        return [self._listing.names[i] for i in self._places]

    @property
    def labels(self) -> np.ndarray:
        """Labels int64 (n,)."""
        return np.asarray(self._listing.labels[self._places], dtype=np.int64)


class Broken:
    """Reports images that cannot be read. Stops if there are more than `most`, which is the parameter `key`."""

    def __init__(self, tree: Tree, most: int, key: str = "prepare.max_broken") -> None:
        self.tree, self.most, self.key, self.count = tree, most, key, 0

    def add(self, name: str, reason: str) -> None:
        """Counts and reports one image. Raises InputError if it is one too many."""
        self.count += 1
        if self.count <= SHOWN:
            tqdm.write(f"{self.tree.full(name)}: {reason}", file=sys.stderr)
        if self.count > self.most:
            more = f"more than {self.key}: {self.most}"
            raise InputError(f"{self.tree.path}: {self.count} broken images, {more}; the last is {name}: {reason}")


def decode_split(
    tree: Tree, split: str, listing: Listing, size: int, broken: Broken, thumbnails: Thumbnails
) -> tuple[np.ndarray, Decoded]:
    """The readable images of a listing, in order, uint8 (n, size, size, 3), and what is known of them."""
    images, decoded = np.empty((len(listing.names), size, size, 3), np.uint8), Decoded(listing, thumbnails)
    for count, (place, pixels, look) in enumerate(_decoded(tree, split, listing, size, broken, lambda pixels: pixels)):
        images[count] = pixels
        decoded.add(place, look)
    return images[: len(decoded.digests)], decoded


def shard_split(
    tree: Tree, split: str, listing: Listing, size: int, broken: Broken, thumbnails: Thumbnails, writer: ShardWriter
) -> Decoded:
    """Writes the readable images of a listing into shards, in order. Returns what is known of them."""
    decoded = Decoded(listing, thumbnails)
    for place, content, look in _decoded(tree, split, listing, size, broken, writer.encode):
        writer.add(split, content, int(listing.labels[place]))
        decoded.add(place, look)
    return decoded


def _decoded(
    tree: Tree, split: str, listing: Listing, size: int, broken: Broken, encode: Callable[[np.ndarray], T]
) -> Iterator[tuple[int, T, Look]]:
    """Place in the listing, encoded pixels and look of each readable image. Only a few images are in memory at a time."""

    def work(name: str) -> tuple[T, Look] | str:
        """The result for one image, or the reason why it cannot be read."""
        try:
            image = decode(tree.read(name))
            pixels = np.array(centre(image, size, (size, size)))
        except InputError as error:
            return str(error)
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        return encode(pixels), Look(digest, thumbnail(image), min(image.size))

    threads = threads_for(tree, listing.names)
    for i, result in enumerate(in_threads(work, listing.names, threads, f"decoding {split}")):
        if isinstance(result, str):
            broken.add(listing.names[i], result)
        else:
            yield i, *result


def threads_for(tree: Tree, names: Sequence[str]) -> int:
    """Number of threads that decode these images fastest.

    Pillow decodes and resizes without Python's lock, so threads help. Small images take less time than handing over the lock:
    two threads needed 0.6 times the time of one for photos of 256 pixels, and twice the time for 32 pixels.
    """
    sizes = [tree.size(name) for name in names[:100]]
    return (os.cpu_count() or 1) if sum(sizes) > SMALL * len(sizes) else 1


def in_threads(work: Callable[[S], T], items: Sequence[S], threads: int, title: str) -> Iterator[T]:
    """The results of `work` for the items, in their order. Only a few chunks of results are in memory at a time."""
    chunks = iter([items[i : i + CHUNK] for i in range(0, len(items), CHUNK)])
    pool = ThreadPoolExecutor(threads)
    try:
        with tqdm(total=len(items), desc=title, unit="image", mininterval=1) as bar:
            waiting = deque(pool.submit(_each, work, chunk) for chunk in islice(chunks, 2 * threads))
            while waiting:
                results = waiting.popleft().result()
                waiting.extend(pool.submit(_each, work, chunk) for chunk in islice(chunks, 1))
                yield from results
                bar.update(len(results))
    finally:
        pool.shutdown(cancel_futures=True)


def _each(work: Callable[[S], T], chunk: Sequence[S]) -> list[T]:
    return [work(item) for item in chunk]


def repeated(path: Path, digests: Mapping[str, list[bytes]]) -> int:
    """The number of val and test images that are also in train. Reports it, because accuracy on them means nothing."""
    train = set(digests["train"])
    count = sum(digest in train for name in ("val", "test") for digest in digests[name])
    if count:
        print(f"{path}: {count} images of val and test are also in train, pixel for pixel", file=sys.stderr, flush=True)
    return count
