"""Decodes the images of a set in threads, and reports those that cannot be read."""

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from ofa_core.images.decode import centre, decode
from ofa_core.images.shards import ShardWriter
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError

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


class Decoded(NamedTuple):
    """Images uint8 (n, s, s, 3), labels int64 (n,), and a digest of each image's pixels."""

    images: np.ndarray
    labels: np.ndarray
    digests: list[bytes]


class Broken:
    """Reports images that cannot be read. Stops if there are more than `most`."""

    def __init__(self, tree: Tree, most: int) -> None:
        self.tree, self.most, self.count = tree, most, 0

    def add(self, name: str, reason: str) -> None:
        """Counts and reports one image. Raises InputError if it is one too many."""
        self.count += 1
        if self.count <= SHOWN:
            tqdm.write(f"{self.tree.full(name)}: {reason}", file=sys.stderr)
        if self.count > self.most:
            more = f"more than prepare.max_broken: {self.most}"
            raise InputError(f"{self.tree.path}: {self.count} broken images, {more}; the last is {name}: {reason}")


def decode_split(tree: Tree, split: str, listing: Listing, size: int, broken: Broken) -> Decoded:
    """The readable images of a listing, in order, uint8 (n, size, size, 3)."""
    images = np.empty((len(listing.names), size, size, 3), np.uint8)
    labels, digests = [], []
    for i, (label, pixels, digest) in enumerate(_decoded(tree, split, listing, size, broken, lambda pixels: pixels)):
        images[i] = pixels
        labels.append(label)
        digests.append(digest)
    return Decoded(images[: len(labels)], np.array(labels, dtype=np.int64), digests)


def shard_split(
    tree: Tree, split: str, listing: Listing, size: int, broken: Broken, writer: ShardWriter
) -> tuple[np.ndarray, list[bytes]]:
    """Writes the readable images of a listing into shards, in order. Returns their labels int64 (n,) and digests."""
    labels, digests = [], []
    for label, content, digest in _decoded(tree, split, listing, size, broken, writer.encode):
        writer.add(split, content, label)
        labels.append(label)
        digests.append(digest)
    return np.array(labels, dtype=np.int64), digests


def _decoded(
    tree: Tree, split: str, listing: Listing, size: int, broken: Broken, encode: Callable[[np.ndarray], T]
) -> Iterator[tuple[int, T, bytes]]:
    """Label, encoded pixels and digest of each readable image, in order. Only a few images are in memory at a time."""

    def work(chunk: range) -> list[tuple[T, bytes] | str]:
        """The result for each image of a chunk, or the reason why it cannot be read."""
        results: list[tuple[T, bytes] | str] = []
        for i in chunk:
            try:
                pixels = np.array(centre(decode(tree.read(listing.names[i])), size, (size, size)))
            except InputError as error:
                results.append(str(error))
            else:
                results.append((encode(pixels), hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()))
        return results

    # Pillow decodes and resizes without Python's lock, so threads help. Small images take less time than handing over the lock.
    # Two threads needed 0.6 times the time of one for photos of 256 pixels, and twice the time for 32 pixels.
    sizes = [tree.size(name) for name in listing.names[:100]]
    threads = (os.cpu_count() or 1) if sum(sizes) > SMALL * len(sizes) else 1
    count = len(listing.names)
    chunks = iter([range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)])
    pool = ThreadPoolExecutor(threads)
    try:
        with tqdm(total=count, desc=f"decoding {split}", unit="image", mininterval=1) as bar:
            waiting = deque((chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 2 * threads))
            while waiting:
                chunk, future = waiting.popleft()
                results = future.result()
                waiting.extend((chunk, pool.submit(work, chunk)) for chunk in islice(chunks, 1))
                for i, result in zip(chunk, results, strict=True):
                    if isinstance(result, str):
                        broken.add(listing.names[i], result)
                    else:
                        yield int(listing.labels[i]), *result
                bar.update(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)


def repeated(path: Path, digests: Mapping[str, list[bytes]]) -> int:
    """The number of val and test images that are also in train. Reports it, because accuracy on them means nothing."""
    train = set(digests["train"])
    count = sum(digest in train for name in ("val", "test") for digest in digests[name])
    if count:
        print(f"{path}: {count} images of val and test are also in train, pixel for pixel", file=sys.stderr, flush=True)
    return count
