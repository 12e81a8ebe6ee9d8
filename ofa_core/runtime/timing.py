"""Repeated measurements of one file as one number."""

from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Timing:
    """count: fresh instances of the runtime; median_ms: median of their times; spread_ms: largest minus smallest of these."""

    count: int
    median_ms: float
    spread_ms: float


NEGLIGIBLE_MS = 0.0005
"""A standard error below this needs no more instances whatever the file's time."""


def summary(values: list[float]) -> Timing:
    """Milliseconds of several instances as one entry of a table."""
    return Timing(count=len(values), median_ms=round(median(values), 6), spread_ms=round(max(values) - min(values), 6))


def standard_error(values: list[float]) -> float:
    """The standard error of the median as a share of it; 0 where it is negligible, infinite for a single value.

    From the mean absolute deviation, times 1.2533 a standard deviation; another 1.2533 is what a median loses. Both
    for normally distributed values. One outlier among few values makes it large, and is then outvoted by more of them.
    """
    if len(values) < 2:
        return float("inf")
    middle = median(values)
    error = 1.2533**2 * sum(abs(value - middle) for value in values) / (len(values) - 1) / np.sqrt(len(values))
    return 0.0 if error < NEGLIGIBLE_MS else float(error / middle)
