"""Every stage of params/imagenet.yaml on 64 photos of 224 pixels, training in two processes, in less than 8 GB."""

import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.space.registry import get_space
from tests.conftest import REPO, shared_data
from tests.projects import Project

pytestmark = pytest.mark.slow

MOST_BYTES = 8 * 2**30
RESOLUTION = 224
SYNSETS = ("n01440764", "n02084071", "n07747607", "n03000684")
ONCE = {"epochs": 0.25, "warmup_epochs": 0, "lr": 0.001}
"""One step. The profile's learning rates are for 256 times as many images."""
SMALL: dict[str, dict[str, Any]] = {
    "space": {"resolutions": [RESOLUTION]},
    "training": {"batch_size": 8, "bn_images": 16, "device": "cpu", "threads": 1},
    "prepare": {"folder": "photos", "val_images": 8},
    "train_supernet": ONCE,
    "collect_accuracies": {"architectures": 20, "int8_architectures": 20},
    "search": {"targets": {"fast": {"fraction": 0.02}}, "candidates": 2},
    "specialize": ONCE | {"quantization": "both"},
    "export": {"calibration_images": 16, "parity_images": 4, "min_kernel_agreement": 0.0, "min_simulation_agreement": 0.0}
    | {"max_int8_drop": 1.0},
    "train_baselines": {
        "epochs": ONCE["epochs"],
        "lrs": [ONCE["lr"]],
        "networks": {"small": {"family": "mobilenet_v3_small", "width_mult": 1.0, "resolution": 224, "total_stride": 32}},
    },
    "evaluate": {"instances": 1, "milliseconds": 1},
}
"""What makes the profile short: sections and keys. Of the phases, the first and the last remain, with one step each."""


def write_photos(folder: Path, synsets: Sequence[str] = SYNSETS, train: int = 48, val: int = 16) -> None:
    """Photos in ImageNet's layout, `train` in train/ and `val` in val/. It does not matter which photo is of what."""
    with zipfile.ZipFile(shared_data("images/imagenet_photos.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".JPEG")][: train + val]
        for i, name in enumerate(names):
            path = folder / ("train" if i < train else "val") / synsets[i % len(synsets)] / f"{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.open(io.BytesIO(archive.read(name))).convert("RGB").save(path, quality=95)


def write_small(project: Project, content: dict[str, Any]) -> None:
    """Writes params.yaml from a profile's content, with the shortest latency table."""
    yaml = YAML()
    host = yaml.load(REPO / "params/default.yaml")["build_latency_table"]["devices"]["host"]
    host |= {"instances": 1, "max_error": 1.0, "milliseconds": 1, "networks": 4}
    content["build_latency_table"] = {"devices": {"host": host}}
    with (project.folder / "small.yaml").open("w") as file:
        yaml.dump(content, file)
    project.run("ofa_core.commands.main", "profile", "small.yaml", "--out", "params.yaml")


def write_params(project: Project) -> dict[str, Any]:
    """Writes params.yaml: the imagenet profile, with few images and steps. Returns the changes of the default."""
    yaml = YAML()
    content = yaml.load(REPO / "params/imagenet.yaml")
    for section, values in SMALL.items():
        content.setdefault(section, {}).update(values)
    phases = content["shrink"]["phases"]
    first, *_, last = phases
    content["shrink"]["phases"] = {first: phases[first] | ONCE, last: phases[last] | ONCE | {"init": first}}
    write_small(project, content)
    return dict(content)


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""A small process starts the stage: Linux counts the largest size of a process from before its exec, here of all tests."""


def peak(project: Project, *command: str, processes: int = 1) -> int:
    """Runs a stage; returns the bytes of its largest process, times the processes that train together."""
    size = project.folder / "size"
    project.run(*command, processes=processes, through=(sys.executable, "-c", MEASURED, str(size)))
    return int(size.read_text()) * 1024 * processes


def test_every_stage_fits_into_memory(tmp_path: Path) -> None:
    project = Project(tmp_path)
    write_photos(tmp_path / "photos")
    content = write_params(project)
    phases = list(content["shrink"]["phases"])
    together = [["train_supernet"], *(["shrink", "--phase", phase] for phase in phases), ["train_baselines"]]
    found: dict[str, int] = {}

    def run(stage: str, *options: str, processes: int = 1) -> None:
        found[" ".join((stage, *options))] = peak(project, f"stages.{stage}", *options, processes=processes)
        print(stage, *options, found[" ".join((stage, *options))] / 2**30, flush=True)

    run("prepare")
    run("build_latency_table", "--device", "host")
    for command in together:
        run(*command, processes=2)
    run("collect_accuracies", processes=2)
    # With so few images all networks have the same accuracy. The other stages get as many measurements as the profile has.
    write_measurements(tmp_path / "build/accuracies")
    run("fit_predictor")
    run("search")
    run("choose", processes=2)
    run("specialize", "--target", "fast", processes=2)
    run("export", "--target", "fast")
    run("evaluate", "--target", "fast")
    run("compare")
    assert {stage: size for stage, size in found.items() if size > MOST_BYTES} == {}


def write_measurements(folder: Path) -> None:
    """The number of architectures of the profile, with accuracies that follow from their size."""
    collect = YAML().load(REPO / "params/imagenet.yaml")["collect_accuracies"]
    space, rng = get_space("ofa_mbv3", 1.0, (RESOLUTION,)), np.random.default_rng(0)
    count = collect["architectures"]
    archs = space.decode(space.leaning(count, rng), np.full(count, RESOLUTION))
    sizes = np.log([space.cost(arch, 1000).macs for arch in archs])
    top1 = 0.7 + 0.05 * (sizes - sizes.mean()) + rng.normal(0, 0.002, count)
    rows = [{"top1": value, "cross_entropy": 4 * (1 - value)} for value in top1]
    for row in rows[: collect["int8_architectures"]]:
        row["int8_top1"] = row["top1"] - 0.005
    Accuracies.of(space, archs, rows).write(folder)
