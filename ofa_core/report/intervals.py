"""How sure a measured accuracy is, and the difference of two that were measured on the same images."""

import math
from typing import NamedTuple

import numpy as np

from ofa_core.run.errors import InputError

RESAMPLES = 10_000
"""Enough that the ends of a 95 % interval vary by about 1 % of its width between seeds."""


class Interval(NamedTuple):
    """A difference and the ends of its interval, as shares (0..1)."""

    difference: float
    low: float
    high: float


def standard_error(share: float, images: int) -> float:
    """The standard error of a share (0..1) of independent images."""
    return math.sqrt(share * (1 - share) / images)


def paired_interval(
    correct_a: np.ndarray, correct_b: np.ndarray, level: float = 0.95, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """How much better `a` is than `b` in top-1, with a percentile bootstrap interval over test images and training seeds.

    correct_a, correct_b: bool (seeds, images), whether each network is right; row i of both is from the same seed, column j the
    same image. level: of the interval, 0..1. seed: of the bootstrap. Raises InputError for other types or shapes, or a level
    out of range.

    Images and seeds are drawn with replacement, independently of each other, and every draw takes both networks' answers
    (pigeonhole bootstrap: Owen 2007, https://doi.org/10.1214/07-AOAS122). With one seed, only images are drawn, and the
    interval says nothing about another training. With several, the variance of what is random in a pair of seed and image
    counts up to three times, which makes the interval wide rather than narrow. The variance between s seeds counts
    (s - 1) / s times: with two or three, a difference that depends mostly on the seed is less sure than the interval says.
    """
    _check(correct_a, correct_b, level)
    difference = correct_a.astype(np.int8) - correct_b.astype(np.int8)  # (s, n), each -1, 0 or 1
    seeds, images = difference.shape
    # Few columns differ, so instead of images, draw how often each kind of column occurs: the same distribution.
    kinds, counts = np.unique(difference, axis=1, return_counts=True)  # (s, k), (k,)
    rng = np.random.default_rng(seed)
    drawn_images = rng.multinomial(images, counts / images, resamples)  # (resamples, k)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)  # (resamples, s)
    means = ((drawn_images @ kinds.T) * drawn_seeds).sum(1) / (seeds * images)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high))


def _check(correct_a: np.ndarray, correct_b: np.ndarray, level: float) -> None:
    for name, correct in (("correct_a", correct_a), ("correct_b", correct_b)):
        if correct.dtype != np.bool_ or correct.ndim != 2 or not correct.size:
            raise InputError(f"{name}: {correct.dtype} {correct.shape}, not bool (seeds, images)")
    if correct_a.shape != correct_b.shape:
        raise InputError(f"correct_b: {correct_b.shape}, but correct_a is {correct_a.shape}")
    if not 0 < level < 1:
        raise InputError(f"level: {level} is not between 0 and 1")
