"""Tables and plots of the study, from studies/photos/results: `python -m studies.photos.tables`."""

import pandas as pd

from ofa_core.report.comparison import training_cost
from ofa_core.report.plots import plot_cost
from ofa_core.run.params import ParamsFile
from studies.photos.run import BUDGETS, HERE, SEEDS, SMALLEST
from studies.results import Results, comparison, write

DONE = [seed for seed in SEEDS if (HERE / f"results/searched-{seed}.json").exists()]
"""Seeds whose searched networks are there; the order of jobs has the others before them."""
RESULTS = Results(HERE / "results", DONE)
TOLERANCE = 0.02
"""As `choose.tolerance`: networks are searched for the predicted latency of a baseline, and measured like it."""


def cost(names: list[str]) -> pd.DataFrame:
    """Hours of training over the number of targets, means over seeds."""
    searched = [found["hours"] for found in RESULTS.of_job("searched")]
    once = [{"cpu_core_hours": sum(hours["once"]) / len(searched)} for hours in searched]
    each = [{"cpu_core_hours": value} for hours in searched for value in hours["each"]]
    alone = [{"cpu_core_hours": found[name]["cpu_core_hours"]} for name in names for found in RESULTS.of_job(name)]
    return training_cost(once, each, [row | {"sweep": [row]} for row in alone])


def main() -> None:
    """Writes networks.csv, comparison.csv, cost.csv, front.svg and cost.svg, and prints the tables."""
    names = [*ParamsFile(HERE / "params.yaml").content["train_baselines"]["subnets"], *SMALLEST]
    searched = {name: RESULTS.read("searched", name, target=True) for name in BUDGETS}
    whole = {name: RESULTS.read(name, name, target=False) for name in names}
    rows = [("searched", name, net) for name, net in searched.items()] + [("alone", name, net) for name, net in whole.items()]
    table = cost(names)
    write(HERE, {
        "networks": pd.DataFrame([{"family": family, "name": name} | net.row() for family, name, net in rows]),
        "comparison": comparison(searched, whole, TOLERANCE),
        "cost": table,
    })  # fmt: skip
    plot_cost(HERE / "cost.svg", table)


if __name__ == "__main__":
    main()
