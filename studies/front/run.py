"""Trains and evaluates every network of the study, with three seeds. What is finished is not done again.

    python -m studies.front.run [FOLDER]

FOLDER (default: build/front) gets clones, cache, logs and models; `studies.study` says how a job works. A variant of the search
begins with a copy of the finished clone.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.run import files, paths
from ofa_core.run.params import ParamsFile
from ofa_core.space.arch import Arch
from ofa_core.space.params import SpaceParams
from studies.study import Job, Result, Study, evaluator, targets

HERE = Path("studies/front")
SEEDS = (0, 1, 2)
SWEEP_EPOCHS = 1.5
SWEPT = ("v2_0.25", "v3_small_0.5", "smallest", "middle")
"""Networks for which learning rates are tried, with seed 0. A network at a lower resolution has the rate of its original."""
VARIANTS: dict[str, dict[str, Any]] = {
    "searched": {},
    "predictor_only": {"search.candidates": 1},  # the search's best, unmeasured
    "random": {},  # another network of the same latency, drawn at random, instead of the chosen one
    "latency_draw": {"shrink.phases.all.draw": "latency"},
    "shrunk_teacher": {"specialize.teacher": "shrunk"},
}
"""What differs from the profile, by variant of the search."""
SUPERNET_EPOCHS = 1.5
"""What a sub-network is trained for alone, to compare it with itself inside the super-network..."""
SHORT = "_short"
"""...and the end of the name of such a job."""
LONG = {"shrink.phases.all.epochs": 3.75}
"""With these, the super-network sees as many images as the networks alone do: 0.25 + 3.75 epochs of the profile's 4."""
POOL, NEAREST = 20_000, 20
"""A random network is one of the `NEAREST` slowest of a random pool that are not slower than the chosen network."""


def main() -> None:
    """Runs the jobs in this order, so that the comparison is complete before the ablations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/front"))
    study = FrontStudy(HERE, parser.parse_args().folder)
    study.run_all([("sweep", study.sweep), *[(f"searched-{seed}", study.searched("searched", seed)) for seed in SEEDS]])
    stock, subnets = (list(study.profile["train_baselines"][key]) for key in ("networks", "subnets"))
    study.run_all([(f"{name}-{seed}", study.tuned(name, seed)) for seed in SEEDS for name in stock])
    study.run_all([(f"shrunk-{seed}", study.shrunk(seed)) for seed in SEEDS])
    study.run_all([(f"shrunk_long-{seed}", study.shrunk(seed, LONG)) for seed in SEEDS])
    short = {"train_baselines.epochs": SUPERNET_EPOCHS}
    study.run_all([(f"{name}{SHORT}-{seed}", study.tuned(name, seed, short)) for seed in SEEDS for name in subnets])
    study.run_all([(f"{name}-{seed}", study.tuned(name, seed)) for seed in SEEDS for name in subnets])
    for variant in VARIANTS:
        study.run_all([(f"{variant}-{seed}", study.searched(variant, seed)) for seed in SEEDS])
    study.measure()


class FrontStudy(Study):
    """The jobs of this study."""

    def sweep(self, job: str) -> Result:
        """Top-1 on val by network and learning rate."""
        baselines = self.profile["train_baselines"]
        clone = self.clone(job, {
            "seed": SEEDS[0],
            "train_baselines.epochs": SWEEP_EPOCHS,
            "train_baselines.networks": {name: value for name, value in baselines["networks"].items() if name in SWEPT},
            "train_baselines.subnets": {name: value for name, value in baselines["subnets"].items() if name in SWEPT},
        })  # fmt: skip
        self.run(clone, job, "dvc", "repro", "train_baselines")
        found = files.read_json(clone / paths.report("train_baselines"))["networks"]
        return {name: {f"{tried['lr']:g}": tried["top1"] for tried in result["sweep"]} for name, result in found.items()}

    def tuned(self, network: str, seed: int, changes: dict[str, Any] | None = None) -> Job:
        """The job that trains a network or a sub-network alone, with the learning rate that was best on val.

        changes: of the profile.
        """

        def train(job: str) -> Result:
            tried = self.result("sweep")[network.split("_r2")[0]]
            lr = float(max(tried, key=lambda lr: tried[lr]))
            return self.alone(job, network, {"seed": seed, "train_baselines.lrs": [lr], **(changes or {})})

        return train

    def searched(self, variant: str, seed: int) -> Job:
        """The job that runs the pipeline up to exported files."""

        def train(job: str) -> Result:
            clone = self.clone(job, {"seed": seed, **VARIANTS[variant]}, like=f"searched-{seed}")
            if variant == "random":
                self.run(clone, job, "dvc", "repro", "choose")
                draw_random(clone, seed)
                for target in targets(clone):
                    self.run(clone, job, sys.executable, "-m", "stages.specialize", "--target", target)
                    self.run(clone, job, sys.executable, "-m", "stages.export", "--target", target)
            else:
                self.run(clone, job, "dvc", "repro", "export")
            return {target: self.exported(job, clone, target) for target in targets(clone)}

        return train

    def shrunk(self, seed: int, changes: dict[str, Any] | None = None) -> Job:
        """The job that evaluates the networks that were also trained alone as they are in the super-network.

        changes: of the profile, to train another super-network. None: that of the searched networks.
        """

        def evaluate(job: str) -> Result:
            clone = self.folder / f"searched-{seed}"
            if changes is not None:
                clone = self.clone(job, {"seed": seed, **changes}, like=clone.name)
                self.run(clone, job, "dvc", "repro", "shrink")
            params = ParamsFile(clone / "params.yaml")
            space, test = params.read("space", SpaceParams).build(), evaluator(clone, "test")
            net = build_supernet(space, len(test.train.classes))
            load_weights(clone / paths.supernet(params.read("shrink.last", str)), net)
            found, val = {}, evaluator(clone, "val")
            for name, subnet in params.read("train_baselines", TrainBaselinesParams).subnets.items():
                arch = subnet.arch(space)
                scores = {"val_top1": val.subnet_score(net, arch), "float_test_top1": test.subnet_score(net, arch)}
                found[name] = {"arch": arch.to_dict()} | scores
            return found

        return evaluate


def draw_random(clone: Path, seed: int) -> None:
    """Replaces each target's chosen network by another one of its latency, drawn at random."""
    table = LatencyTable.load(clone / paths.latency_table("host"))
    space = ParamsFile(clone / "params.yaml").read("space", SpaceParams).build()
    rng = np.random.default_rng(seed)
    codes, resolutions = space.leaning(POOL, rng), rng.choice(space.resolutions, POOL)
    pool = {tuple(space.layers(arch)): arch for arch in space.decode(codes, resolutions)}  # each network once
    for path in sorted((clone / paths.CHOSEN).glob("*.json")):
        chosen = files.read_json(path)
        others = [arch for layers, arch in pool.items() if layers != tuple(space.layers(Arch.from_dict(chosen["arch"])))]
        latencies = np.array([table.predict(space, arch) for arch in others])
        order = np.argsort(latencies)
        fitting = int(np.searchsorted(latencies[order], chosen["predicted_latency_ms"], side="right"))
        row = rng.choice(
            order[max(0, fitting - NEAREST) : max(1, fitting)]
        )  # the fastest other one, if the chosen is the fastest
        path.unlink()  # it may be a link into the cache
        files.write_json(path, chosen | {"arch": others[row].to_dict(), "predicted_latency_ms": latencies[row]})


if __name__ == "__main__":
    main()
