"""The results of a study's jobs over seeds, and how they compare.

Every difference is in points of top-1 on test, uint8 files, with a paired 95 % interval over images and seeds
(`ofa_core.report.intervals`). Latencies are means over seeds.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ofa_core.report.intervals import paired_interval
from ofa_core.report.plots import plot_pareto
from ofa_core.run import files
from studies.study import model_name


class Trained(NamedTuple):
    """A network, or the networks of one target, after training with every seed.

    correct: bool (seeds, images). val: top-1 (seeds,), 0..1. latencies: milliseconds (seeds,).
    """

    correct: np.ndarray
    val: np.ndarray
    latencies: np.ndarray

    @property
    def latency(self) -> float:
        """Milliseconds, mean over seeds."""
        return float(self.latencies.mean())

    @property
    def top1(self) -> np.ndarray:
        """Top-1 on test in percent (seeds,)."""
        return 100 * self.correct.mean(axis=1)

    def row(self) -> dict[str, Any]:
        """What all tables give of a network; top1_se is the standard error of the mean over seeds."""
        return {
            "latency_ms": self.latency,
            "top1": float(self.top1.mean()),
            "top1_se": float(self.top1.std(ddof=1) / len(self.top1) ** 0.5),
            "val_top1": float(100 * self.val.mean()),
        }


class Results:
    """What is in a study's folder `results`. seeds: with which its jobs ran."""

    def __init__(self, folder: Path, seeds: Sequence[int]) -> None:
        self.folder, self.seeds = folder, seeds

    def of_job(self, job: str) -> list[dict[str, Any]]:
        """The results of a job by seed."""
        return [files.read_json(self.folder / f"{job}-{seed}.json") for seed in self.seeds]

    def finished(self, job: str) -> bool:
        """Whether a job has results with all seeds."""
        return all((self.folder / f"{job}-{seed}.json").exists() for seed in self.seeds)

    def read(self, job: str, name: str, target: bool) -> Trained:
        """The networks of a job. name: the network or target in its file."""
        latency = files.read_json(self.folder / "latency.json")["ms"]
        rows = [found[name] for found in self.of_job(job)]
        packed = [(np.frombuffer(base64.b64decode(row["correct"]), np.uint8), row["images"]) for row in rows]
        correct = [np.unpackbits(bits, count=images) for bits, images in packed]
        latencies = np.array([latency[model_name(f"{job}-{seed}", name if target else None)] for seed in self.seeds])
        return Trained(np.stack(correct).astype(bool), np.array([row["val_top1"] for row in rows]), latencies)


def difference(better: Trained, worse: Trained) -> dict[str, float]:
    """How many points `better` is above `worse`, and the ends of the interval."""
    found = paired_interval(better.correct, worse.correct)
    return {"difference": 100 * found.difference, "low": 100 * found.low, "high": 100 * found.high}


def comparison(searched: dict[str, Trained], others: dict[str, Trained], tolerance: float = 0.0) -> pd.DataFrame:
    """Each other network with the best searched one that is at most as slow, if there is any.

    tolerance: share by which a latency may be above, for networks that were searched for the other one's latency.
    """
    rows = []
    for name, other in others.items():
        fitting = {target: net for target, net in searched.items() if net.latency <= other.latency * (1 + tolerance)}
        if fitting:
            target = max(fitting, key=lambda key: fitting[key].top1.mean())
            row: dict[str, Any] = {"network": name, "latency_ms": other.latency, "top1": other.top1.mean(), "searched": target}
            net = fitting[target]
            rows.append(row | {"searched_ms": net.latency, "searched_top1": net.top1.mean()} | difference(net, other))
    return pd.DataFrame(rows)


def write(here: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Writes each table as NAME.csv and prints it. From that named networks it draws front.svg."""
    for name, table in tables.items():
        files.write_bytes(here / f"{name}.csv", table.to_csv(index=False, float_format="%.4g").encode())
        print(f"\n{name}\n{table.to_string(index=False, float_format='{:.3f}'.format)}")
    networks = tables["networks"]
    shares = networks.assign(top1=networks["top1"] / 100, top1_se=networks["top1_se"] / 100)
    plot_pareto(here / "front.svg", shares.sort_values(["family", "latency_ms"]))
