"""Ways to make a pretrained network elastic with a few thousand photos, by top-1 of the shrunk sub-networks on test.

    python -m benchmarks.photo_recipes PROJECT [--epochs 4] [--seeds 1] [--only NAME ...] [--out FILE.csv]

PROJECT is a folder that `ofa make` wrote, or a clone with the profile `photos`; its stages `prepare` and `train_supernet` have
run. Each variant starts from its full network, trains equal epochs, and is measured at the largest resolution. What is
finished is in the CSV file and is not done again.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_full
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile, parse
from ofa_core.space.base import Space
from ofa_core.space.params import SpaceParams
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, train
from ofa_core.training.params import PhaseParams, TrainingParams
from ofa_core.training.shrinking import corners, full_part, phase_objective, phase_sampler, sort_for_phase

SANDWICH = {
    "largest": {"subnets": 1, "labels": 1, "soft": 0},
    "smallest": {"subnets": 1, "labels": 1, "soft": 1},
    "middle": {"subnets": 1, "labels": 1, "soft": 1},
}
LABELS = {role: {"subnets": 1, "labels": 1, "soft": 0} for role in SANDWICH}
BASE: dict[str, Any] = {"init": "full", "roles": SANDWICH, "teacher": "largest", "lr": 0.02}
BASE |= {"epochs": 1.0, "warmup_epochs": 0.05}
"""A phase; its epochs are shares of `--epochs`."""
LARGE_KEPT = {"largest": {"subnets": 1, "labels": 1, "soft": 0}, "middle": {"subnets": 2, "labels": 1, "soft": 1}}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "in_place": [BASE],
    "full_teacher": [BASE | {"teacher": "full", "roles": {role: SANDWICH["middle"] for role in SANDWICH}}],
    "labels": [BASE | {"teacher": "none", "roles": LABELS}],
    "soft_only": [BASE | {"roles": {r: v | ({"labels": 0} if v["soft"] else {}) for r, v in SANDWICH.items()}}],
    "lr_0.01": [BASE | {"lr": 0.01}],
    "lr_0.04": [BASE | {"lr": 0.04}],
    "no_smallest": [BASE | {"roles": LARGE_KEPT}],
    "two_phases": [
        BASE | {"expand_ratios": [6], "epochs": 0.4, "warmup_epochs": 0.02},
        BASE | {"init": "first", "epochs": 0.6, "warmup_epochs": 0.03},
    ],
}
"""Phases by name. The sandwich of `in_place` is that of params/photos.yaml; the others change one thing."""


def run(project: Path, phases: list[dict[str, Any]], epochs: float, seed: int) -> dict[str, float]:
    """Trains the phases one after the other; top-1 (0..1) on val and test of the three corners."""
    params = ParamsFile(project / "params.yaml")
    space, shared = params.read("space", SpaceParams).build(), params.read("training", TrainingParams)
    machine, data = params.read("machine", MachineParams), project / "build/data/classification.npz"
    train_images = Images(data, "train")
    val, test = (Evaluator(train_images, Images(data, name), shared.bn_images, seed) for name in ("val", "test"))
    net, trained = build_supernet(space, len(train_images.classes)), full_part(space)
    with tempfile.TemporaryDirectory() as folder:
        for number, fields in enumerate(phases):
            scaled = {key: fields[key] * epochs for key in ("epochs", "warmup_epochs")}
            work = Path(folder, str(number))
            phase = parse(PhaseParams, fields | scaled, "phase")
            trained = step(net, project, phase, trained, space, work, (train_images, shared, machine), seed)
    found = dict[str, float]()
    for role, arch in corners(space).items():
        found |= {f"{role}_val": val.subnet_score(net, arch), f"{role}_test": test.subnet_score(net, arch)}
    return found


def step(
    net: Any, project: Path, phase: PhaseParams, trained: Space, space: Space, work: Path, setup: tuple[Any, ...], seed: int
) -> Space:
    """One phase, as the stage shrink does it, in place; returns the part of the space that is then trained."""
    train_images, shared, machine = setup
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    full = load_full(project / "build/supernet/full.safetensors", net)
    if phase.init != "full":
        net.load_state_dict(before)
    part = phase.part(space)
    sort_for_phase(net, part, trained)
    work.mkdir()
    schedule = Schedule(epochs=phase.epochs, warmup_epochs=phase.warmup_epochs, lr=phase.lr)
    sampler = phase_sampler(net, part, phase, part.sample)
    train(net, train_images, sampler, phase_objective(phase, shared, full), schedule, shared, machine,
          phase=f"{work.name}", seed=seed, work=work)  # fmt: skip
    return part


def main() -> None:
    """Runs what the table lacks, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photo_recipes.csv"))
    args = parser.parse_args()
    use_threads(0)
    rows: list[Mapping[Any, Any]] = pd.read_csv(args.out).to_dict("records") if args.out.exists() else []
    for seed in range(args.seeds):
        for name in args.only:
            key = {"variant": name, "epochs": args.epochs, "seed": seed}
            if not any(key.items() <= row.items() for row in rows):
                rows.append(key | run(args.project, VARIANTS[name], args.epochs, seed))
                pd.DataFrame(rows).to_csv(args.out, index=False, float_format="%.4f")
                print(rows[-1], flush=True)
    columns = ["largest_test", "middle_test", "smallest_test"]
    print(pd.DataFrame(rows).groupby(["variant", "epochs"], sort=False)[columns].mean().to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
