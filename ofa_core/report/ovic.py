"""Scores of the on-device vision challenges (LPIRC, OVIC, LPCVC; 2018 to 2020) and the published networks they compare with.

Latencies are milliseconds an image on the challenge's phone, a Pixel 2 with one thread on one big core. A score of latencies
from another device says how a network would stand if that device were the phone.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

BUCKETS = {30: (24.0, 36.0), 100: (80.0, 120.0)}
"""By target latency in ms the bucket in which submissions are ranked, of November 2018: 20 % about the target."""
IMAGES = 20_000
"""Images of the 2018 ranking."""
DETECTION_2020 = (16.894553358968146, -34.42191514521174)
"""k and a0, in points of mAP, of the detection frontier on COCO minival that the 2020 round published on 7 April 2020."""
FIT_RANGE_MS = (10.0, 90.0)
"""Where a logarithm describes the classification baselines; over all of them it is 2.4 points off on average."""


class Published(NamedTuple):
    """A published network: one row of published.csv, which names the source.

    top1 in 0..1, of ImageNet. What the source does not state is None, and `unknown` as dtype.
    """

    family: str
    model: str
    resolution: int | None
    dtype: str
    device: str
    threads: int
    latency_ms: float
    top1: float
    macs_millions: float | None
    source: str


class Score(NamedTuple):
    """How a classifier stands. Accuracies as shares (0..1); None: the rule does not apply at this latency.

    bucket: the latencies (ms) it is ranked among. reference: top-1 of baselines of its latency, between frontier points.
    metric: top1 - reference, the score of November 2018. frontier: top-1 of the logarithmic frontier of 2019.
    improvement: top1 - frontier. wall_time: the test metric of 2018, by target latency (ms).
    """

    bucket: tuple[float, float] | None
    reference: float | None
    metric: float | None
    frontier: float
    improvement: float
    wall_time: dict[int, float]


def published() -> list[Published]:
    """All published networks, with their latencies on phones."""
    with (Path(__file__).parent / "published.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    return [
        Published(
            family=row["family"],
            model=row["model"],
            resolution=int(row["resolution"]) if row["resolution"] else None,
            dtype=row["dtype"],
            device=row["device"],
            threads=int(row["threads"]),
            latency_ms=float(row["latency_ms"]),
            top1=float(row["top1"]),
            macs_millions=float(row["macs_millions"]) if row["macs_millions"] else None,
            source=row["source"],
        )
        for row in rows
    ]


def baselines() -> list[tuple[float, float]]:
    """(latency_ms, top1) of OVIC's own classification baselines on Pixel 2."""
    return [(p.latency_ms, p.top1) for p in published() if p.device == "Pixel 2" and p.source.startswith("OVIC baselines")]


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto-optimal ones of (latency, accuracy) points, by rising latency and accuracy."""
    best: list[tuple[float, float]] = []
    for latency, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((latency, accuracy))
    return best


def interpolate(points: Sequence[tuple[float, float]], latency_ms: float) -> float | None:
    """The accuracy of a frontier at a latency, on straight lines between its points; None outside of them."""
    for (t0, a0), (t1, a1) in pairwise(points):
        if t0 <= latency_ms <= t1:
            return a0 + (a1 - a0) * (latency_ms - t0) / (t1 - t0)
    return None


def fit_log(points: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """(k, a0) of a(t) = k ln t + a0, by least squares over (latency, accuracy) points with at least two latencies."""
    logs, accuracies = zip(*((math.log(latency), accuracy) for latency, accuracy in points), strict=True)
    x, y = sum(logs) / len(logs), sum(accuracies) / len(logs)
    k = sum((a - x) * (b - y) for a, b in zip(logs, accuracies, strict=True)) / sum((a - x) ** 2 for a in logs)
    return k, y - k * x


def wall_time(latencies_ms: Sequence[float], correct: Sequence[bool], target_ms: float = 30) -> dict[str, float]:
    """The metrics of 2018 from the latency of every image and whether it was classified right.

    Only images finished within target_ms times their number count. test_metric: the right ones of all images; classified: how
    many count; accuracy_on_classified: the right ones of these; accuracy_over_time: test_metric a millisecond of the run, which
    is never shorter than the time allowed. Raises ValueError for no images or unequal numbers.
    """
    if not latencies_ms or len(latencies_ms) != len(correct):
        raise ValueError(f"{len(latencies_ms)} latencies and {len(correct)} results; as many of each are needed, one at least")
    allowed, spent, classified, right = target_ms * len(latencies_ms), 0.0, 0, 0
    for latency, hit in zip(latencies_ms, correct, strict=True):
        spent += latency
        if spent <= allowed:
            classified, right = classified + 1, right + hit
    metric = right / len(correct)
    return {
        "test_metric": metric,
        "classified": classified,
        "accuracy_on_classified": right / classified if classified else 0.0,
        "accuracy_over_time": metric / max(spent, allowed),
    }


def score(latency_ms: float, top1: float) -> Score:
    """The scores of a classifier by its latency and top-1 (0..1). Raises ValueError for impossible values."""
    if not 0 < latency_ms < math.inf:
        raise ValueError(f"latency: {latency_ms} is not a number of milliseconds above zero")
    if not 0 <= top1 <= 1:
        raise ValueError(f"top1: {top1} is not in 0..1")
    points = frontier(baselines())
    k, a0 = fit_log(point for point in points if FIT_RANGE_MS[0] <= point[0] <= FIT_RANGE_MS[1])
    expected, reference = k * math.log(latency_ms) + a0, interpolate(points, latency_ms)
    return Score(
        bucket=next((limits for limits in BUCKETS.values() if limits[0] <= latency_ms <= limits[1]), None),
        reference=reference,
        metric=None if reference is None else top1 - reference,
        frontier=expected,
        improvement=top1 - expected,
        # With equal latencies the share of images done in time is the ratio of times.
        wall_time={target: top1 * math.floor(min(1.0, target / latency_ms) * IMAGES) / IMAGES for target in BUCKETS},
    )


def describe(found: Score) -> str:
    """A score in a few lines."""
    between = "no baseline is as fast or as slow" if found.metric is None else f"{100 * found.metric:+.2f} points"
    lines = {
        "bucket": "none" if found.bucket is None else "{:g} to {:g} ms".format(*found.bucket),
        "against baselines of the same latency": between,
        "against the frontier a(t) = k ln t + a0": f"{100 * found.improvement:+.2f} points",
    }
    lines |= {f"right within {target} ms an image": f"{share:.2%}" for target, share in found.wall_time.items()}
    return "\n".join(f"{name + ':':<42}{value}" for name, value in lines.items())


def detection_improvement(latency_ms: float, mean_average_precision: float) -> float:
    """How far a detector (mAP on COCO minival, 0..1) is above the frontier of 2020, in shares. Raises ValueError as `score`."""
    if not 0 < latency_ms < math.inf:
        raise ValueError(f"latency: {latency_ms} is not a number of milliseconds above zero")
    if not 0 <= mean_average_precision <= 1:
        raise ValueError(f"map: {mean_average_precision} is not in 0..1")
    k, a0 = DETECTION_2020
    return mean_average_precision - (k * math.log(latency_ms) + a0) / 100
