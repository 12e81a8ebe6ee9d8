"""Intervals of differences in accuracy, against what is known without resampling."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from ofa_core.report.intervals import paired_interval, standard_error


def test_standard_error_of_a_share() -> None:
    assert standard_error(0.9, 10_000) == pytest.approx(0.003)
    assert standard_error(1.0, 10) == 0


STEP = 1 / 4000
"""One image of a split of 4,000."""


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_one_seed_gives_the_normal_interval_of_paired_answers(level: float) -> None:
    """Of 4,000 images, a alone is right on 300 and b alone on 180: a mean of 1, 0 and -1 (McNemar's counts)."""
    a, b = np.ones((1, 4000), bool), np.ones((1, 4000), bool)
    a[0, :180], b[0, 180:480] = False, False
    found = paired_interval(a, b, level)
    mean = 120 * STEP
    width = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((480 * STEP - mean**2) * STEP)
    assert found.difference == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - width, mean + width), abs=STEP + 0.03 * width)
    assert paired_interval(b, a, level).low == pytest.approx(-found.high, abs=STEP + 0.03 * width)


def test_repeated_seeds_add_nothing() -> None:
    """Three equal rows are as sure as one: the images are the same."""
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 3000)) < 0.93, rng.random((1, 3000)) < 0.9
    one, three = paired_interval(a, b), paired_interval(a.repeat(3, 0), b.repeat(3, 0))
    assert three == pytest.approx(one, abs=0.03 * (one.high - one.low))


def test_seeds_that_differ_widen_the_interval() -> None:
    """Every image is won with one seed and none with the other: drawing two seeds gives 0, 1/2 or 1 and nothing else."""
    b = np.zeros((2, 500), bool)
    a = b.copy()
    a[0] = True
    assert paired_interval(a, b) == (0.5, 0.0, 1.0)
    assert paired_interval(a, b, 0.45) == (0.5, 0.5, 0.5)  # as half of all draws are


def test_random_answers_are_covered() -> None:
    """Three seeds, independent answers, a true difference of 2 points: at least 95 % of the intervals hold it."""
    rng, held = np.random.default_rng(0), 0
    for i in range(200):
        a, b = rng.random((3, 800)) < 0.92, rng.random((3, 800)) < 0.9
        found = paired_interval(a, b, resamples=1000, seed=i)
        held += found.low <= 0.02 <= found.high
    assert held >= 190


def test_same_seed_same_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 9973)) < 0.9, rng.random((3, 9973)) < 0.9
    assert paired_interval(a, b, seed=1) == paired_interval(a, b, seed=1) != paired_interval(a, b, seed=2)


def test_wrong_input_is_named() -> None:
    a = np.ones((2, 5), bool)
    for call, message in (
        ((a.astype(int), a), r"^correct_a: int64 \(2, 5\), not bool \(seeds, images\)$"),
        ((a, a[0]), r"^correct_b: bool \(5,\), not bool"),
        ((a, a[:, :4]), r"^correct_b: \(2, 4\), but correct_a is \(2, 5\)$"),
        ((a[:0], a[:0]), r"^correct_a: bool \(0, 5\)"),
        ((a, a, 95), r"^level: 95 is not between 0 and 1$"),
    ):
        with pytest.raises(ValueError, match=message):
            paired_interval(*call)
