"""Decoding the images of a set, in threads, and telling of those that cannot be read."""

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

T = TypeVar("T")
SHOWN = 20
"""Broken images that get a line of their own."""
CHUNK = 64
"""Images a thread decodes at a time."""
SMALL = 8192
"""Bytes of a file below which one thread decodes as fast as several."""


class Listing(NamedTuple):
    """Images of a split: their names in a tree, and their labels int64 (N,)."""

    names: list[str]
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Listing":
        """Some of them, in the order of the indices."""
        return Listing([self.names[i] for i in indices], self.labels[indices])


class Decoded(NamedTuple):
    """Images uint8 (n, s, s, 3), labels int64 (n,), and a digest of each image's pixels."""

    images: np.ndarray
    labels: np.ndarray
    digests: list[bytes]


class Broken:
    """Tells of images that cannot be read, and stops when they are more than `most`."""

    def __init__(self, tree: Tree, most: int) -> None:
        self.tree, self.most, self.count = tree, most, 0

    def add(self, name: str, reason: str) -> None:
        """Counts one more. Raises ValueError when it is one too many."""
        self.count += 1
        if self.count <= SHOWN:
            tqdm.write(f"{self.tree.full(name)}: {reason}", file=sys.stderr)
        if self.count > self.most:
            more = f"more than prepare.max_broken: {self.most}"
            raise ValueError(f"{self.tree.path}: {self.count} broken images, {more}; the last is {name}: {reason}")


def decode_split(tree: Tree, split: str, listing: Listing, size: int, broken: Broken) -> Decoded:
    """The images of a listing that can be read, in its order, uint8 (n, size, size, 3)."""
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
    """Writes the images of a listing that can be read into shards, in its order; their labels int64 (n,) and digests."""
    labels, digests = [], []
    for label, content, digest in _decoded(tree, split, listing, size, broken, writer.encode):
        writer.add(split, content, label)
        labels.append(label)
        digests.append(digest)
    return np.array(labels, dtype=np.int64), digests


def _decoded(
    tree: Tree, split: str, listing: Listing, size: int, broken: Broken, encode: Callable[[np.ndarray], T]
) -> Iterator[tuple[int, T, bytes]]:
    """Label, encoded pixels and digest of each image that can be read, in the listing's order, with few of them in memory."""

    def work(chunk: range) -> list[tuple[T, bytes] | str]:
        """What each image of a chunk gives, or the reason why it cannot be read."""
        results: list[tuple[T, bytes] | str] = []
        for i in chunk:
            try:
                pixels = np.array(centre(decode(tree.read(listing.names[i])), size, (size, size)))
            except ValueError as error:
                results.append(str(error))
            else:
                results.append((encode(pixels), hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()))
        return results

    # Threads: Pillow decodes and resizes outside of Python's lock. Not for small images, which take less time than passing the
    # lock around: two threads needed 0.6 of one's time for photos of 256 pixels, and twice its time for 32 pixels.
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
    """Val and test images that equal one of train: accuracy on them says nothing, so the user is told how many there are."""
    train = set(digests["train"])
    count = sum(digest in train for name in ("val", "test") for digest in digests[name])
    if count:
        print(f"{path}: {count} images of val and test are also in train, pixel for pixel", file=sys.stderr, flush=True)
    return count
