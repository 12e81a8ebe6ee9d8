"""Finds near-duplicates among thumbnails: the same photo resized, re-encoded or slightly cropped, or one of the next moment.

Candidates come from a perceptual hash, the low frequencies of the cosine transform of the grey image (pHash: Zauner,
Implementation and Benchmarking of Perceptual Image Hash Functions, 2010). pHash keeps their signs. Here they stay numbers and
are compared by their cosine: at equal recall of slightly cropped copies, that gives a quarter of the candidates. Each candidate
is then confirmed on the colour thumbnails, aligned with each other by their gradients (Lucas and Kanade, An Iterative Image
Registration Technique, 1981). Different photos of the same kind of fruit agree in the first, but not in the second.
"""

from typing import NamedTuple

import numpy as np

from ofa_core.datasets.thumbnails import SIDE, Thumbnails

FREQUENCIES = 8
"""Lowest frequencies of each direction in the hash."""
SIMILAR = 0.9
"""Least cosine of the hashes of candidates. Of copies cropped by 2 to 3 %, 99.6 % reach it."""
NEAREST = 8
"""Most candidates of an image: sets whose images are all alike would have millions."""
LIKENESS = 0.93
"""Least likeness of near-duplicates: the share of a thumbnail's variance that agrees with the other one. Copies of photos are
above 0.96; of copies of CIFAR-10's 32 pixels, 95 to 98 % reach it (benchmarks/near_duplicates.py)."""
BURST = 32
"""Largest group in which all images are near-duplicates. Larger ones are images that are alike by nature, such as centred grey
silhouettes; there, only closer pairs count."""
CLOSER = (0.965, 0.98, 0.99, 0.995)
"""Likenesses that a pair in too large a group must have, one after the other until no group is too large."""
BLANK = 4.0
"""Standard deviation (of 255) below which a thumbnail shows nothing. Such images are no duplicates of each other."""
GREY = np.array([0.299, 0.587, 0.114], np.float32)
COSINES, CHUNK = 2**21, 64
"""Pairs that are compared by hash at a time, and thumbnails that are in memory at a time."""


class Pairs(NamedTuple):
    """Near-duplicates: int64 indices (P,) of both images, first < second, and their likeness float (P,), best first."""

    first: np.ndarray
    second: np.ndarray
    likeness: np.ndarray

    def take(self, chosen: np.ndarray) -> "Pairs":
        """Some of the pairs, by index or as a mask."""
        return Pairs(self.first[chosen], self.second[chosen], self.likeness[chosen])


def find_pairs(thumbnails: Thumbnails | np.ndarray) -> Pairs:
    """The near-duplicates among thumbnails uint8 (N, 32, 32, 3).

    The time grows with the square of N: 18 s for 50,000 images on one core. It takes 250 bytes of memory an image.
    """
    first, second = _candidates(_hashes(thumbnails))
    likeness = np.empty(len(first), np.float32)
    for start in range(0, len(first), CHUNK):
        part = slice(start, start + CHUNK)
        likeness[part] = likenesses(thumbnails[first[part]], thumbnails[second[part]])
    pairs = Pairs(first, second, likeness).take(likeness >= LIKENESS)
    for closer in CLOSER:
        group = groups(pairs, len(thumbnails))
        crowded = np.bincount(group, minlength=1)[group[pairs.first]] > BURST
        pairs = pairs.take(~crowded | (pairs.likeness >= closer))
    return pairs.take(np.lexsort((pairs.second, pairs.first, -pairs.likeness)))


def groups(pairs: Pairs, count: int) -> np.ndarray:
    """The group of each of `count` images, int64 (count,): the smallest index among those that pairs connect with it."""
    parent = np.arange(count)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    for i in range(count):  # a root is never behind its members
        parent[i] = parent[parent[i]]
    return parent


def blank(thumbnails: Thumbnails | np.ndarray) -> np.ndarray:
    """Which thumbnails uint8 (N, 32, 32, 3) show nothing, bool (N,)."""
    found = np.empty(len(thumbnails), bool)
    for start in range(0, len(thumbnails), CHUNK):
        found[start : start + CHUNK] = thumbnails[start : start + CHUNK].std(axis=(1, 2), dtype=np.float32).max(axis=1) < BLANK
    return found


def likenesses(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How alike pairs of thumbnails uint8 (n, 32, 32, 3) are, float32 (n,), at most 1.

    It is the share of the variance (of the one that varies less) that remains in agreement after a has been moved and scaled by
    up to 3 pixels to fit b. Two pixels at each border, which may have no counterpart, do not count.
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    smooth, target = _blurred(a, 1.0), _blurred(b, 1.0) @ GREY
    motion = np.zeros((len(a), 4), np.float32)  # x, y, and their growth from the centre to the border, in pixels
    for _ in range(2):
        motion = np.clip(motion + _step(_moved(smooth, motion) @ GREY, target), -3, 3)
    a, b = _moved(_blurred(a, 0.85), motion)[:, 2:-2, 2:-2], _blurred(b, 0.85)[:, 2:-2, 2:-2]
    variance = np.minimum(*(((x - x.mean(axis=(1, 2), keepdims=True)) ** 2).sum(axis=(1, 2, 3)) for x in (a, b)))
    return np.asarray(1 - ((a - b) ** 2).sum(axis=(1, 2, 3)) / np.maximum(variance, 1e-6))


def _hashes(thumbnails: Thumbnails | np.ndarray) -> np.ndarray:
    """Unit vectors float32 (N, 63); zeros for blank images, which then resemble nothing."""
    k, x = np.arange(FREQUENCIES)[:, None], np.arange(SIDE)[None]
    cosines = np.cos(np.pi * k * (2 * x + 1) / (2 * SIDE)).astype(np.float32)  # DCT-II
    cosines[0] /= np.sqrt(2)
    hashes = np.empty((len(thumbnails), FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(thumbnails), CHUNK):
        part = thumbnails[start : start + CHUNK]
        low = cosines @ (part.astype(np.float32) @ GREY) @ cosines.T  # (n, 8, 8)
        hashed = low.reshape(len(low), -1)[:, 1:]  # without the mean
        hashed /= np.maximum(np.linalg.norm(hashed, axis=1, keepdims=True), 1e-6)
        hashed[blank(part)] = 0
        hashes[start : start + CHUNK] = hashed
    return hashes


def _candidates(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices int64 (P,), first < second, of images of which one is among the `NEAREST` of the other, and `SIMILAR`."""
    count, found = len(hashes), [np.empty(0, np.int64)]
    rows = COSINES // max(count, 1) + 1
    for start in range(0, count, rows):
        cosines = hashes[start : start + rows] @ hashes.T  # (rows, N)
        np.fill_diagonal(cosines[:, start:], -1)  # itself
        places = np.flatnonzero(cosines >= SIMILAR)
        crowded = np.flatnonzero(np.bincount(places // count) > NEAREST)
        if len(crowded):
            least = np.full((len(cosines), 1), SIMILAR, np.float32)
            least[crowded, 0] = np.partition(cosines[crowded], -NEAREST, axis=1)[:, -NEAREST]
            places = np.flatnonzero(cosines >= least)
        i, j = np.divmod(places, count)
        i += start
        found.append(np.unique(np.minimum(i, j) * count + np.maximum(i, j)))
    both = np.unique(np.concatenate(found))
    return both // max(count, 1), both % max(count, 1)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Images float32 (n, 32, 32, 3) after a Gaussian filter; sigma in pixels."""
    distance = np.arange(SIDE)[:, None] - np.arange(SIDE)[None]
    kernel = np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum(axis=1, keepdims=True)
    rows = kernel @ images.reshape(len(images), SIDE, -1)
    return (kernel @ rows.reshape(-1, SIDE, images.shape[-1])).reshape(images.shape)


def _step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The motion float32 (n, 4) that brings grey images a (n, 32, 32) closer to b: one step of least squares.

    b is taken as a sum of a (contrast), a constant (brightness), and a's gradients (motion and growth).
    """
    y, x = np.gradient(a, axis=(1, 2))
    along = np.linspace(-1, 1, SIDE, dtype=np.float32)
    columns = np.stack([a, np.ones_like(a), x, y, x * along, y * along[:, None]], axis=-1).reshape(len(a), -1, 6)
    left = (columns.transpose(0, 2, 1) @ columns).astype(np.float64) + np.eye(6) * 1e-3
    right = (columns.transpose(0, 2, 1) @ b.reshape(len(b), -1, 1)).astype(np.float64)
    weights = np.linalg.solve(left, right)[..., 0]
    contrast = np.maximum(weights[:, :1], 0.2)
    return np.clip(weights[:, 2:] / contrast, -1.5, 1.5).astype(np.float32)


def _moved(images: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Images float32 (n, 32, 32, 3) read at places moved by motion (n, 4), with linear interpolation."""
    along = np.linspace(-1, 1, SIDE, dtype=np.float32)
    n = np.arange(len(images))[:, None]
    for axis in (1, 0):  # rows by y, then columns by x
        places = np.clip(np.arange(SIDE) + motion[:, axis, None] + motion[:, 2 + axis, None] * along, 0, SIDE - 1)
        low = np.minimum(places.astype(np.int64), SIDE - 2)  # (n, 32)
        part = (places - low).astype(np.float32)[:, :, None, None]
        images = (images[n, low] * (1 - part) + images[n, low + 1] * part).transpose(0, 2, 1, 3)
    return images
