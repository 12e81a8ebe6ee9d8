"""Trains and evaluates every network of the study, with three seeds. What is finished is not done again.

    python -m studies.front.run [FOLDER]

Each job clones the last commit into FOLDER (default: build/front), writes its parameters there, and DVC runs the stages. A
variant of the search begins with a copy of the finished clone. Two jobs run at a time, with one thread each.
A finished job leaves studies/front/results/JOB.json, and its uint8 files in FOLDER/models. Without a result, a job runs again.
"""

import argparse
import base64
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.convert.params import HardSwishChoice
from ofa_core.evaluation.evaluate import correct
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_layers, load_weights
from ofa_core.quantization.params import Calibration
from ofa_core.report.comparison import Conversion, baseline_files
from ofa_core.run import files, paths
from ofa_core.run.params import ParamsFile
from ofa_core.runtime.device_record import device_name, host_device
from ofa_core.runtime.host import time_in_turns
from ofa_core.space.arch import Arch
from ofa_core.space.params import SpaceParams
from ofa_core.tasks.registry import get_task
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images

HERE = Path("studies/front")
PROFILE, RESULTS = HERE / "params.yaml", HERE / "results"
SEEDS = (0, 1, 2)
JOBS_AT_ONCE = 2
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
ROUNDS = 7
"""Rounds in which all files are timed."""
POOL, NEAREST = 20_000, 20
"""A random network is one of the `NEAREST` slowest of a random pool that are not slower than the chosen network."""


def main() -> None:
    """Runs the jobs in this order, so that the comparison is complete before the ablations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/front"))
    study = Study(parser.parse_args().folder.resolve())
    run_all([("sweep", study.sweep), *[(f"searched-{seed}", study.searched("searched", seed)) for seed in SEEDS]])
    stock, subnets = (list(study.profile["train_baselines"][key]) for key in ("networks", "subnets"))
    run_all([(f"{name}-{seed}", study.alone(name, seed)) for seed in SEEDS for name in stock])
    run_all([(f"shrunk-{seed}", study.shrunk(seed)) for seed in SEEDS])
    run_all([(f"shrunk_long-{seed}", study.shrunk(seed, LONG)) for seed in SEEDS])
    run_all([(f"{name}{SHORT}-{seed}", study.alone(name, seed, SUPERNET_EPOCHS)) for seed in SEEDS for name in subnets])
    run_all([(f"{name}-{seed}", study.alone(name, seed)) for seed in SEEDS for name in subnets])
    for variant in VARIANTS:
        run_all([(f"{variant}-{seed}", study.searched(variant, seed)) for seed in SEEDS])
    study.measure()


def run_all(jobs: list[tuple[str, Callable[[str], dict[str, Any]]]]) -> None:
    """Runs those of the jobs that have no result. A job's function gets its name."""

    def run(job: tuple[str, Callable[[str], dict[str, Any]]]) -> None:
        name, function = job
        path = RESULTS / f"{name}.json"
        if not path.exists():
            print(f"{name}: started", flush=True)
            files.write_json(path, function(name))
            print(f"{name}: done", flush=True)

    with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
        list(pool.map(run, jobs))


class Study:
    """The jobs. folder: for clones, cache, logs and models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profile: dict[str, Any] = ParamsFile(PROFILE).content
        for name in ("models", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def sweep(self, job: str) -> dict[str, Any]:
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

    def alone(self, network: str, seed: int, epochs: float | None = None) -> Callable[[str], dict[str, Any]]:
        """The job that trains a stock network or a sub-network alone, with the learning rate that was best on val.

        epochs: default: those of the profile.
        """

        def train(job: str) -> dict[str, Any]:
            tried = files.read_json(RESULTS / "sweep.json")[network.split("_r2")[0]]
            changes: dict[str, Any] = {"seed": seed, "train_baselines.lrs": [float(max(tried, key=lambda lr: tried[lr]))]}
            if epochs is not None:
                changes["train_baselines.epochs"] = epochs
            for key in ("networks", "subnets"):
                known = self.profile["train_baselines"][key]
                changes[f"train_baselines.{key}"] = {name: known[name] for name in known if name == network}
            clone = self.clone(job, changes)
            self.run(clone, job, "dvc", "repro", "train_baselines")
            report = files.read_json(clone / paths.report("train_baselines"))["networks"][network]
            net = load_layers(clone / paths.BASELINES / f"{network}.safetensors")
            model, train_images = self.folder / "models" / model_name(job), load_split(clone / paths.DATASET, "train")
            files.write_bytes(model, baseline_files(net, train_images, conversion(clone))["uint8"])
            r = net.active[0].resolution
            found = {"lr": report["lr"], "val_top1": report["top1"], "float_test_top1": evaluator(clone, "test").score(net, r)}
            return {network: found | {"resolution": r} | right(model, clone, r)}

        return train

    def searched(self, variant: str, seed: int) -> Callable[[str], dict[str, Any]]:
        """The job that runs the pipeline up to exported files."""

        def train(job: str) -> dict[str, Any]:
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

    def exported(self, job: str, clone: Path, target: str) -> dict[str, Any]:
        """What is known of a target's network, and its answers on test."""
        chosen = files.read_json(clone / paths.chosen(target))
        model = self.folder / "models" / model_name(job, target)
        shutil.copy(clone / paths.exported_file(target, "uint8"), model)
        found = {key: chosen[key] for key in ("arch", "budget_ms", "predicted_latency_ms")}
        found |= {"val_top1": files.read_json(clone / paths.report("specialize", target))["top1"]}
        return found | right(model, clone, chosen["arch"]["r"])

    def shrunk(self, seed: int, changes: dict[str, Any] | None = None) -> Callable[[str], dict[str, Any]]:
        """The job that evaluates the networks that were also trained alone as they are in the super-network.

        changes: of the profile, to train another super-network. None: that of the searched networks.
        """

        def evaluate(job: str) -> dict[str, Any]:
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

    def measure(self) -> None:
        """Adds latencies of uint8 files that have none, measured in turns. Nothing else may run meanwhile."""
        path, device = RESULTS / "latency.json", device_name(host_device(threads=1))
        known = files.read_json(path)["ms"] if path.exists() else {}
        found = sorted((self.folder / "models").glob("*.tflite"))
        new = time_in_turns({model.name: model.read_bytes() for model in found if model.name not in known}, rounds=ROUNDS)
        files.write_json(path, {"device": device, "ms": known | new})

    def clone(self, job: str, changes: dict[str, Any], like: str | None = None) -> Path:
        """A clone of the last commit with the profile and these changes of it, keys dotted.

        like: a job whose clone is copied with its outputs, if it has one, so that only what the changes affect runs again.
        """
        clone = self.folder / job
        if not (clone / "params.yaml").exists():
            if like is not None and (self.folder / like).exists():
                shutil.copytree(self.folder / like, clone, symlinks=True)
            else:
                subprocess.run(["git", "clone", "--quiet", "--shared", ".", clone], check=True)
        local = {"cache.dir": str(self.folder / "cache"), "core.analytics": "false"}
        for key, value in local.items():
            self.run(clone, job, "dvc", "config", "--quiet", "--local", key, value)
        content = ParamsFile(PROFILE).content  # a copy of its own
        for key, value in changes.items():
            *sections, last = key.split(".")
            part = content
            for name in sections:
                part = part.setdefault(name, {})
            part[last] = value
        with (clone / "job.yaml").open("w") as f:
            YAML().dump(content, f)
        self.run(clone, job, sys.executable, "-m", "ofa_core.commands.main", "profile", "job.yaml")
        return clone

    def run(self, clone: Path, job: str, *command: str | Path) -> None:
        """Runs a command in a clone, with the clone's code. Its output goes to the job's log."""
        with (self.folder / f"logs/{job}.log").open("a") as log:
            subprocess.run(command, cwd=clone, stdout=log, stderr=subprocess.STDOUT, check=True)


def model_name(job: str, target: str | None = None) -> str:
    """The name of a job's uint8 file."""
    return f"{job}.tflite" if target is None else f"{job}-{target}.tflite"


def evaluator(clone: Path, split: str) -> Evaluator:
    """Evaluates on a split of a clone's images."""
    params, dataset = ParamsFile(clone / "params.yaml"), clone / paths.DATASET
    bn_images, seed = params.read("training.bn_images", int), params.read("seed", int)
    return Evaluator(Images(dataset, "train"), Images(dataset, split), bn_images, seed)


def conversion(clone: Path) -> Conversion:
    """A clone's settings for integer files."""
    params = ParamsFile(clone / "params.yaml")
    return Conversion(
        hard_swish=params.read("export.hard_swish", HardSwishChoice),
        calibration=params.read("export.calibration", Calibration),
        images=params.read("export.calibration_images", int),
        seed=params.read("export.calibration_seed", int),
    )


def right(model: Path, clone: Path, resolution: int) -> dict[str, Any]:
    """Test top-1 of a uint8 file, and on which images it is right: packed bits in base 64."""
    test = load_split(clone / paths.DATASET, "test")
    found = correct(model, to_rgb(resize(test.images, resolution)), test.labels, get_task("classification"))
    bits = base64.b64encode(np.packbits(found).tobytes()).decode()
    return {"test_top1": float(found.mean()), "images": len(found), "correct": bits}


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


def targets(clone: Path) -> list[str]:
    """The names of a clone's targets."""
    return list(ParamsFile(clone / "params.yaml").raw("search.targets"))


if __name__ == "__main__":
    main()
