"""Summary of repeated time measurements of one file."""

from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Timing:
    """count: number of fresh instances of the runtime. median_ms: median of their times. spread_ms: largest minus smallest."""

    count: int
    median_ms: float
    spread_ms: float


NEGLIGIBLE_MS = 0.0005
"""Standard error, in milliseconds, below which a file needs no more instances."""


def summary(values: list[float]) -> Timing:
    """Summarises the milliseconds of several instances as one entry of a table."""
    return Timing(count=len(values), median_ms=round(median(values), 6), spread_ms=round(max(values) - min(values), 6))


def standard_error(values: list[float]) -> float:
    """The standard error of the median as a share of the median: 0 if it is negligible, infinite for a single value.

    For normally distributed values, the mean absolute deviation times 1.2533 is the standard deviation. The standard error of a
    median is another 1.2533 times larger than that of a mean. One outlier among few values makes the error large; more
    instances then outvote it.
    """
    if len(values) < 2:
        return float("inf")
    middle = median(values)
    error = 1.2533**2 * sum(abs(value - middle) for value in values) / (len(values) - 1) / np.sqrt(len(values))
    return 0.0 if error < NEGLIGIBLE_MS else float(error / middle)
