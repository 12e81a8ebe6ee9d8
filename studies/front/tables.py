"""Tables and plot of the study, from studies/front/results: `python -m studies.front.tables`.

Every difference is in points of top-1 on test, uint8 files, with a paired 95 % interval over images and seeds
(`ofa_core.report.intervals`). Latencies are means over seeds.
"""

import base64
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ofa_core.report.intervals import paired_interval
from ofa_core.report.plots import plot_pareto
from ofa_core.run import files
from ofa_core.run.params import ParamsFile
from studies.front.run import HERE, PROFILE, RESULTS, SEEDS, SHORT, SUPERNET_EPOCHS, VARIANTS, model_name


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


def read(job: str, name: str, target: bool) -> Trained:
    """The results of a job with all seeds. name: the network or target in its file."""
    latency = files.read_json(RESULTS / "latency.json")["ms"]
    rows = [files.read_json(RESULTS / f"{job}-{seed}.json")[name] for seed in SEEDS]
    correct = [np.unpackbits(np.frombuffer(base64.b64decode(row["correct"]), np.uint8), count=row["images"]) for row in rows]
    latencies = np.array([latency[model_name(f"{job}-{seed}", name if target else None)] for seed in SEEDS])
    return Trained(np.stack(correct).astype(bool), np.array([row["val_top1"] for row in rows]), latencies)


def finished(job: str) -> bool:
    """Whether a job has results with all seeds."""
    return all((RESULTS / f"{job}-{seed}.json").exists() for seed in SEEDS)


def difference(better: Trained, worse: Trained) -> dict[str, float]:
    """How many points `better` is above `worse`, and the ends of the interval."""
    found = paired_interval(better.correct, worse.correct)
    return {"difference": 100 * found.difference, "low": 100 * found.low, "high": 100 * found.high}


def comparison(searched: dict[str, Trained], others: dict[str, Trained]) -> pd.DataFrame:
    """Each other network with the best searched one that is at most as slow, if there is any."""
    rows = []
    for name, other in others.items():
        fitting = {target: net for target, net in searched.items() if net.latency <= other.latency}
        if fitting:
            target = max(fitting, key=lambda key: fitting[key].top1.mean())
            row: dict[str, Any] = {"network": name, "latency_ms": other.latency, "top1": other.top1.mean(), "searched": target}
            net = fitting[target]
            rows.append(row | {"searched_ms": net.latency, "searched_top1": net.top1.mean()} | difference(net, other))
    return pd.DataFrame(rows)


def ablation(searched: dict[str, Trained]) -> pd.DataFrame:
    """Each variant's networks, and how many points the searched ones are above them."""
    rows = []
    for variant in VARIANTS:
        if variant != "searched" and finished(variant):
            for target, net in searched.items():
                other = read(variant, target, target=True)
                rows.append({"variant": variant, "target": target} | other.row() | difference(net, other))
    return pd.DataFrame(rows)


def shrinking(names: list[str], epochs: float) -> pd.DataFrame:
    """Sub-networks inside the super-network and trained alone: top-1 in percent of the float networks, means over seeds.

    epochs: after which both are compared, that of the super-network of the searched networks or that of the stock networks.
    """
    rows, (job, end) = [], ("shrunk", SHORT) if epochs == SUPERNET_EPOCHS else ("shrunk_long", "")
    for name in names:
        inside = [files.read_json(RESULTS / f"{job}-{seed}.json")[name] for seed in SEEDS]
        alone = [files.read_json(RESULTS / f"{name}{end}-{seed}.json")[name] for seed in SEEDS]
        for split, key in (("val", "val_top1"), ("test", "float_test_top1")):
            values = [100 * np.array([row[key] for row in found]) for found in (inside, alone)]
            apart = values[1] - values[0]
            row = {"epochs": epochs, "network": name, "split": split, "shrunk": values[0].mean(), "alone": values[1].mean()}
            rows.append(row | {"difference": apart.mean(), "difference_se": apart.std(ddof=1) / len(apart) ** 0.5})
    return pd.DataFrame(rows)


def main() -> None:
    """Writes networks.csv, comparison.csv, ablation.csv, shrinking.csv and front.svg, and prints the tables."""
    profile = ParamsFile(PROFILE).content["train_baselines"]
    targets = [target for target in files.read_json(RESULTS / f"searched-{SEEDS[0]}.json")]
    searched = {target: read("searched", target, target=True) for target in targets}
    stock = {name: read(name, name, target=False) for name in profile["networks"]}
    alone = {name: read(name, name, target=False) for name in profile["subnets"] if finished(name)}
    families = dict.fromkeys(searched, "searched") | {name: value["family"] for name, value in profile["networks"].items()}
    families |= dict.fromkeys(alone, "alone")
    networks = pd.DataFrame(
        {"family": families[name], "name": name} | net.row() for name, net in (searched | stock | alone).items()
    )
    tables = {
        "networks": networks,
        "comparison": comparison(searched, stock | alone),
        "ablation": ablation(searched),
        "shrinking": pd.concat(
            [shrinking(list(profile["subnets"]), epochs) for epochs in (SUPERNET_EPOCHS, profile["epochs"])]
        ),
    }
    for name, table in tables.items():
        files.write_bytes(HERE / f"{name}.csv", table.to_csv(index=False, float_format="%.4g").encode())
        print(f"\n{name}\n{table.to_string(index=False, float_format='{:.3f}'.format)}")
    shares = networks.assign(top1=networks["top1"] / 100, top1_se=networks["top1_se"] / 100)
    plot_pareto(HERE / "front.svg", shares.sort_values(["family", "latency_ms"]))


if __name__ == "__main__":
    main()
