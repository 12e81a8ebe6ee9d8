"""Plots as SVG files. Equal numbers give equal bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ofa_core.run import files

SETTINGS = {"svg.hashsalt": "ofa", "svg.fonttype": "path", "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False}
MARKERS = {"searched": "o", "alone": "s", "mobilenet_v2": "^", "mobilenet_v3_large": "D", "mobilenet_v3_small": "v"}
"""Markers of families."""
LABELS = {"alone": "sub-networks trained alone"}
"""Names of families that do not speak for themselves."""


def plot_pareto(path: Path, table: pd.DataFrame) -> None:
    """Plots top-1 over latency of full-integer files, one marker per family, with bars of one standard error to either side."""
    with figure(path, "Latency (ms)", "Top-1 on test (%)") as axes:
        for family in sorted(set(table["family"])):
            rows = table[table["family"] == family]
            # Of the others, a family holds several widths, depths and resolutions, which no one line joins.
            style = {"linewidth": 2.5, "zorder": 3} if family == "searched" else {"linestyle": "none"}
            axes.errorbar(
                rows["latency_ms"], 100 * rows["top1"], 100 * rows["top1_se"], elinewidth=1, capsize=2,
                marker=MARKERS[family], label=LABELS.get(family, family), **style,
            )  # fmt: skip
            for _, row in rows.iterrows():
                axes.annotate(
                    row["name"], (row["latency_ms"], 100 * row["top1"]), (4, -10), textcoords="offset points", fontsize=7
                )
        axes.set_xscale("log")
        axes.margins(x=0.12)  # space for the names


def plot_shrinking(path: Path, table: pd.DataFrame) -> None:
    """Plots top-1 of sub-networks before progressive shrinking, after it, and trained alone."""
    with figure(path, "", "Top-1 on test (%)") as axes:
        kinds = [kind for kind in ("cut", "shrunk", "alone") if table[kind].notna().any()]
        labels = {"cut": "cut from the full network", "shrunk": "after progressive shrinking", "alone": "trained alone"}
        for i, kind in enumerate(kinds):
            places = [place + (i - (len(kinds) - 1) / 2) * 0.27 for place in range(len(table))]
            bars = axes.bar(places, 100 * table[kind].astype(float), width=0.25, label=labels[kind])
            axes.bar_label(bars, fmt="%.1f", fontsize=7)
        axes.set_xticks(range(len(table)), table["name"])
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylim(0, 125)  # space for the legend above the bars


def plot_cost(path: Path, table: pd.DataFrame) -> None:
    """Plots hours of training over the number of targets; fine-tuning, if there was any, as an area below its line."""
    unit = {"gpu_hours": "GPU hours", "cpu_core_hours": "CPU core hours"}[table["unit"].iloc[0]]
    with figure(path, "Deployment targets", f"Training ({unit})") as axes:
        axes.plot(table["targets"], table["once_for_all"], label="once for all", linewidth=2.5)
        if table["fine_tuning"].any():
            once = table["once_for_all"] - table["fine_tuning"]
            axes.fill_between(table["targets"], once, table["once_for_all"], alpha=0.3, label="of which fine-tuning")
        if "each_alone" in table:
            axes.plot(table["targets"], table["each_alone"], label="each network alone", linestyle="--")
        if "each_alone" in table and not table["each_alone"].equals(table["each_alone_sweep"]):
            axes.plot(table["targets"], table["each_alone_sweep"], label="the same, all learning rates", linestyle=":")
        axes.set_ylim(bottom=0)


@contextmanager
def figure(path: Path, x: str, y: str, size: tuple[float, float] = (6.4, 4.2)) -> Iterator[Axes]:
    """Axes with labels x and y to draw on. Writes the SVG at the end of the block. size: in inches."""
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        drawing = Figure(figsize=size, layout="constrained")
        axes = drawing.subplots()
        yield axes
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.legend(fontsize=7)
        content = BytesIO()
        drawing.savefig(content, format="svg", metadata={"Date": None})
    files.write_bytes(path, content.getvalue())
