"""Tables and plot of the study, from studies/front/results: `python -m studies.front.tables`."""

import numpy as np
import pandas as pd

from ofa_core.run.params import ParamsFile
from studies.front.run import HERE, SEEDS, SHORT, SUPERNET_EPOCHS, VARIANTS
from studies.results import Results, Trained, comparison, difference, write

RESULTS = Results(HERE / "results", SEEDS)


def ablation(searched: dict[str, Trained]) -> pd.DataFrame:
    """Each variant's networks, and how many points the searched ones are above them."""
    rows = []
    for variant in VARIANTS:
        if variant != "searched" and RESULTS.finished(variant):
            for target, net in searched.items():
                other = RESULTS.read(variant, target, target=True)
                rows.append({"variant": variant, "target": target} | other.row() | difference(net, other))
    return pd.DataFrame(rows)


def shrinking(names: list[str], epochs: float) -> pd.DataFrame:
    """Sub-networks inside the super-network and trained alone: top-1 in percent of the float networks, means over seeds.

    epochs: after which both are compared, that of the super-network of the searched networks or that of the stock networks.
    """
    rows, (job, end) = [], ("shrunk", SHORT) if epochs == SUPERNET_EPOCHS else ("shrunk_long", "")
    for name in names:
        inside, alone = ([found[name] for found in RESULTS.of_job(of)] for of in (job, f"{name}{end}"))
        for split, key in (("val", "val_top1"), ("test", "float_test_top1")):
            values = [100 * np.array([row[key] for row in found]) for found in (inside, alone)]
            apart = values[1] - values[0]
            row = {"epochs": epochs, "network": name, "split": split, "shrunk": values[0].mean(), "alone": values[1].mean()}
            rows.append(row | {"difference": apart.mean(), "difference_se": apart.std(ddof=1) / len(apart) ** 0.5})
    return pd.DataFrame(rows)


def main() -> None:
    """Writes networks.csv, comparison.csv, ablation.csv, shrinking.csv and front.svg, and prints the tables."""
    profile = ParamsFile(HERE / "params.yaml").content["train_baselines"]
    searched = {target: RESULTS.read("searched", target, target=True) for target in RESULTS.of_job("searched")[0]}
    stock = {name: RESULTS.read(name, name, target=False) for name in profile["networks"]}
    alone = {name: RESULTS.read(name, name, target=False) for name in profile["subnets"] if RESULTS.finished(name)}
    families = dict.fromkeys(searched, "searched") | {name: value["family"] for name, value in profile["networks"].items()}
    families |= dict.fromkeys(alone, "alone")
    write(HERE, {
        "networks": pd.DataFrame(
            {"family": families[name], "name": name} | net.row() for name, net in (searched | stock | alone).items()
        ),
        "comparison": comparison(searched, stock | alone),
        "ablation": ablation(searched),
        "shrinking": pd.concat(
            [shrinking(list(profile["subnets"]), epochs) for epochs in (SUPERNET_EPOCHS, profile["epochs"])]
        ),
    })  # fmt: skip


if __name__ == "__main__":
    main()
