"""Plots the Pareto front of a search with published networks and the challenge's frontier, on ImageNet."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from ofa_core.report import ovic
from ofa_core.report.plots import figure
from ofa_core.run.errors import InputError

STYLES = {"Pixel 1": "s", "Pixel 2": "o", "Pixel 3": "^", "Pixel 4": "v"}
"""Markers by device. Latencies of different devices are not comparable."""


def plot_published(path: Path, front: pd.DataFrame) -> None:
    """Plots top-1 over latency as SVG: the front of each device, published networks, and the 2019 frontier of a Pixel 2.

    front: columns device, latency_ms, objective (0..1). The 2019 frontier is a(t) = k ln t + a0.
    Raises InputError for a front without latencies.
    """
    if "latency_ms" not in front:
        raise InputError("--plot: needs budgets in ms")
    points = pd.DataFrame(ovic.published())
    with figure(path, "Latency (ms)", "Top-1 on ImageNet (%)", size=(9.0, 6.0)) as axes:
        axes.set_xscale("log")
        for device, rows in front.groupby("device"):
            axes.plot(
                rows["latency_ms"], 100 * rows["objective"], linewidth=2.5, zorder=4, label=f"searched, {device} (predicted)"
            )
        for number, (family, rows) in enumerate(points.groupby("family")):
            for device, some in rows.groupby("device"):
                axes.scatter(
                    some["latency_ms"], 100 * some["top1"], marker=STYLES.get(str(device), "x"), color=f"C{number % 10}", s=18,
                    label=f"{family}, {device}",
                )  # fmt: skip
        low, high = ovic.FIT_RANGE_MS
        times = np.geomspace(low, high, 50)
        k, a0 = ovic.fit_log(p for p in ovic.frontier(ovic.baselines()) if low <= p[0] <= high)
        axes.plot(times, [100 * (k * math.log(t) + a0) for t in times], "k--", linewidth=1, label="frontier of 2019, Pixel 2")
