"""What studies share: jobs that train in clones of the last commit, and what each leaves in the study's results.

A job clones the last commit, writes the study's profile with its changes there, and DVC runs the stages. A finished job leaves
RESULTS/JOB.json, and its uint8 files in FOLDER/models. Without a result, a job runs again.
"""

import base64
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from ofa_core.convert.params import HardSwishChoice
from ofa_core.evaluation.evaluate import correct
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.weights import load_layers
from ofa_core.quantization.params import Calibration
from ofa_core.report.comparison import Conversion, baseline_files
from ofa_core.run import files, paths
from ofa_core.run.params import ParamsFile
from ofa_core.runtime.device_record import device_name, host_device
from ofa_core.runtime.host import time_in_turns
from ofa_core.tasks.registry import get_task
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images

JOBS_AT_ONCE = 2
"""With one thread each."""
ROUNDS = 7
"""Rounds in which all files are timed."""

Result = dict[str, Any]
Job = Callable[[str], Result]
"""Runs the work of a job, whose name it gets; returns its result, JSON-ready."""


class Study:
    """The jobs of a study.

    here: its folder, with params.yaml and results/. folder: for clones, cache, logs and models.
    """

    def __init__(self, here: Path, folder: Path) -> None:
        self.folder, self.path, self.results = folder.resolve(), here / "params.yaml", here / "results"
        self.profile: dict[str, Any] = ParamsFile(self.path).content
        for name in ("models", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def run_all(self, jobs: list[tuple[str, Job]]) -> None:
        """Runs those of the named jobs that have no result."""

        def run(job: tuple[str, Job]) -> None:
            name, work = job
            path = self.results / f"{name}.json"
            if not path.exists():
                print(f"{name}: started", flush=True)
                files.write_json(path, work(name))
                print(f"{name}: done", flush=True)

        with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
            list(pool.map(run, jobs))

    def result(self, job: str) -> Result:
        """What a finished job left."""
        found: Result = files.read_json(self.results / f"{job}.json")
        return found

    def alone(self, job: str, network: str, changes: Mapping[str, Any]) -> Result:
        """Trains one of the profile's networks or sub-networks alone."""
        only = {}
        for key in ("networks", "subnets"):
            known = self.profile["train_baselines"].get(key, {})
            only[f"train_baselines.{key}"] = {name: known[name] for name in known if name == network}
        clone = self.clone(job, {**changes, **only})
        self.run(clone, job, "dvc", "repro", "train_baselines")
        report = files.read_json(clone / paths.report("train_baselines"))["networks"][network]
        net = load_layers(clone / paths.BASELINES / f"{network}.safetensors")
        model, train_images = self.folder / "models" / model_name(job), load_split(clone / paths.DATASET, "train")
        files.write_bytes(model, baseline_files(net, train_images, conversion(clone))["uint8"])
        r = net.active[0].resolution
        found = {"lr": report["lr"], "val_top1": report["top1"], "float_test_top1": evaluator(clone, "test").score(net, r)}
        found |= {"resolution": r, "cpu_core_hours": report["cpu_core_hours"]}
        return {network: found | right(model, clone, r)}

    def exported(self, job: str, clone: Path, target: str) -> Result:
        """What is known of a target's network, and its answers on test."""
        chosen = files.read_json(clone / paths.chosen(target))
        model = self.folder / "models" / model_name(job, target)
        shutil.copy(clone / paths.exported_file(target, "uint8"), model)
        found = {key: chosen[key] for key in ("arch", "budget_ms", "predicted_latency_ms")}
        found |= {"val_top1": files.read_json(clone / paths.report("specialize", target))["top1"]}
        return found | right(model, clone, chosen["arch"]["r"])

    def measure(self) -> None:
        """Adds latencies of uint8 files that have none, measured in turns. Nothing else may run meanwhile."""
        path, device = self.results / "latency.json", device_name(host_device(threads=1))
        known = files.read_json(path)["ms"] if path.exists() else {}
        found = sorted((self.folder / "models").glob("*.tflite"))
        new = time_in_turns({model.name: model.read_bytes() for model in found if model.name not in known}, rounds=ROUNDS)
        files.write_json(path, {"device": device, "ms": known | new})

    def clone(self, job: str, changes: Mapping[str, Any], like: str | None = None) -> Path:
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
        content = ParamsFile(self.path).content  # a copy of its own
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


def right(model: Path, clone: Path, resolution: int) -> Result:
    """Test top-1 of a uint8 file, and on which images it is right: packed bits in base 64."""
    test = load_split(clone / paths.DATASET, "test")
    found = correct(model, to_rgb(resize(test.images, resolution)), test.labels, get_task("classification"))
    bits = base64.b64encode(np.packbits(found).tobytes()).decode()
    return {"test_top1": float(found.mean()), "images": len(found), "correct": bits}


def targets(clone: Path) -> list[str]:
    """The names of a clone's targets."""
    return list(ParamsFile(clone / "params.yaml").raw("search.targets"))
