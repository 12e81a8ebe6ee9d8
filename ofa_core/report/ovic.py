"""Scores of the on-device vision challenges (LPIRC, OVIC, LPCVC; 2018 to 2020), and published networks to compare with.

Latencies are milliseconds per image on the challenge's phone, a Pixel 2 with one thread on one big core. A score for latencies
from another device shows how a network would rank if that device were the phone.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ofa_core.run.errors import InputError

BUCKETS = {30: (24.0, 36.0), 100: (80.0, 120.0)}
"""Latency range (ms) of each ranking bucket of November 2018, by target latency (ms): 20 % around the target."""
IMAGES = 20_000
"""Number of images of the 2018 ranking."""
DETECTION_2020 = (16.894553358968146, -34.42191514521174)
"""k and a0, in points of mAP, of the detection frontier on COCO minival that the 2020 round published on 7 April 2020."""
FIT_RANGE_MS = (10.0, 90.0)
"""Latencies at which a logarithm fits the classification baselines. A fit to all of them is 2.4 points off on average."""


class Published(NamedTuple):
    """A published network: one row of published.csv, which names the source.

    top1: in 0..1, on ImageNet. Values that the source does not state are None; an unstated dtype is `unknown`.
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
    """The scores of a classifier. Accuracies are shares (0..1). None: the rule does not apply at this latency.

    bucket: latency range (ms) of its ranking bucket. reference: top-1 of the baselines at its latency, interpolated.
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
    """(latency_ms, top1) of OVIC's classification baselines on Pixel 2."""
    return [(p.latency_ms, p.top1) for p in published() if p.device == "Pixel 2" and p.source.startswith("OVIC baselines")]


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto-optimal (latency, accuracy) points, by rising latency and accuracy."""
    best: list[tuple[float, float]] = []
    for latency, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((latency, accuracy))
    return best


def interpolate(points: Sequence[tuple[float, float]], latency_ms: float) -> float | None:
    """The accuracy of a frontier at a latency, by linear interpolation between its points. None outside their range."""
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
    """The metrics of 2018, from the latency of each image and whether it was classified correctly.

    Only images that finish within target_ms times the number of images count. test_metric: correct images as a share of all
    images. classified: number of images that count. accuracy_on_classified: share of these that are correct.
    accuracy_over_time: test_metric per millisecond of the run; the run counts as at least the time allowed.
    Raises InputError for no images or unequal numbers.
    """
    if not latencies_ms or len(latencies_ms) != len(correct):
        raise InputError(f"{len(latencies_ms)} latencies and {len(correct)} results; equal numbers are needed, at least one")
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
    """The scores of a classifier from its latency and top-1 (0..1). Raises InputError for impossible values."""
    if not 0 < latency_ms < math.inf:
        raise InputError(f"latency: {latency_ms} is not a number of milliseconds above zero")
    if not 0 <= top1 <= 1:
        raise InputError(f"top1: {top1} is not in 0..1")
    points = frontier(baselines())
    k, a0 = fit_log(point for point in points if FIT_RANGE_MS[0] <= point[0] <= FIT_RANGE_MS[1])
    expected, reference = k * math.log(latency_ms) + a0, interpolate(points, latency_ms)
    return Score(
        bucket=next((limits for limits in BUCKETS.values() if limits[0] <= latency_ms <= limits[1]), None),
        reference=reference,
        metric=None if reference is None else top1 - reference,
        frontier=expected,
        improvement=top1 - expected,
        # If all latencies are equal, the share of images that finish in time is the ratio of the times.
        wall_time={target: top1 * math.floor(min(1.0, target / latency_ms) * IMAGES) / IMAGES for target in BUCKETS},
    )


def describe(found: Score) -> str:
    """A score as text of a few lines."""
    between = "outside the latency range of the baselines" if found.metric is None else f"{100 * found.metric:+.2f} points"
    lines = {
        "bucket": "none" if found.bucket is None else "{:g} to {:g} ms".format(*found.bucket),
        "against baselines of the same latency": between,
        "against the frontier a(t) = k ln t + a0": f"{100 * found.improvement:+.2f} points",
    }
    lines |= {f"correct within {target} ms per image": f"{share:.2%}" for target, share in found.wall_time.items()}
    return "\n".join(f"{name + ':':<42}{value}" for name, value in lines.items())


def detection_improvement(latency_ms: float, mean_average_precision: float) -> float:
    """How far a detector is above the frontier of 2020, as a share. mean_average_precision: on COCO minival, 0..1.

    Raises InputError as `score` does.
    """
    if not 0 < latency_ms < math.inf:
        raise InputError(f"latency: {latency_ms} is not a number of milliseconds above zero")
    if not 0 <= mean_average_precision <= 1:
        raise InputError(f"map: {mean_average_precision} is not in 0..1")
    k, a0 = DETECTION_2020
    return mean_average_precision - (k * math.log(latency_ms) + a0) / 100
