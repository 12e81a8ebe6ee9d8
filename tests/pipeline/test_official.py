"""params/official.yaml with a checkpoint in the published layout and the published predictor: every stage, nothing trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ofa_core.nn import build_supernet
from ofa_core.nn.inputs import IMAGENET
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.run import files
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space, space_of
from tests.conftest import REPO, shared_data
from tests.networks import relative_error
from tests.pipeline.test_imagenet import write_photos, write_small
from tests.projects import Project

pytestmark = pytest.mark.slow

SYNSETS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079",
           "n03394916", "n03417042", "n03425413", "n03445777", "n03888257")  # fmt: skip
"""As many classes as the checkpoint has."""
RESOLUTIONS = [128, 160]
"""The predictor knows 112 and more; the recorded logits are for 64."""


def write_params(project: Project, checkpoint: Path, predictor: Path) -> None:
    """Writes params.yaml: the official profile with the checkpoint's width, and few images and measurements."""
    content: dict[str, Any] = YAML().load(REPO / "params/official.yaml")
    content["space"] |= {"width_mult": 0.25, "resolutions": RESOLUTIONS}
    content["training"] |= {"bn_images": 40, "device": "cpu", "threads": 1}
    content["prepare"] |= {"folder": "photos", "image_size": 160, "train_images": 0, "val_images": 30}
    content["train_supernet"] |= {"init": str(checkpoint), "init_md5": files.md5(checkpoint)}
    content["fit_predictor"] |= {"file": str(predictor)}
    content["collect_accuracies"]["architectures"] = 20
    content["search"] |= {"candidates": 2, "targets": {"fast": {"fraction": 0.3}}}
    # Weights are random, so files differ from the network by whatever they may.
    content["export"] = {"calibration_images": 16, "parity_images": 4, "min_kernel_agreement": 0.0}
    content["export"] |= {"min_simulation_agreement": 0.0, "max_int8_drop": 1.0}
    content["evaluate"] = {"instances": 1, "milliseconds": 1}
    write_small(project, content)


def test_nothing_is_trained_and_everything_else_runs(tmp_path: Path) -> None:
    parity = shared_data("parity/mbv3_w025")
    project, checkpoint, predictor = Project(tmp_path), tmp_path / "net.pth", tmp_path / "acc_predictor.pth"
    shutil.copyfile(parity / "checkpoint.pth", checkpoint)
    shutil.copyfile(shared_data("ofa/acc_predictor.pth"), predictor)
    write_photos(tmp_path / "photos", SYNSETS, train=120, val=40)
    write_params(project, checkpoint, predictor)
    for stage in ("prepare", "fetch_weights", "train_supernet"):
        project.run(f"stages.{stage}")
    project.run("stages.shrink", "--phase", "all")
    project.run("stages.build_latency_table", "--device", "host")
    for stage in ("collect_accuracies", "fit_predictor", "search", "choose"):
        project.run(f"stages.{stage}")
    for stage in ("specialize", "export", "evaluate"):
        project.run(f"stages.{stage}", "--target", "fast")
    for stage in ("train_baselines", "compare", "checksum"):
        project.run(f"stages.{stage}")

    # The super-network is the published one: the logits of the published code.
    net, stored = build_supernet(get_space("ofa_mbv3", 0.25, [64, *RESOLUTIONS]), 10).eval(), np.load(parity / "io.npz")
    described = load_weights(tmp_path / "build/supernet/all.safetensors", net)
    assert (net.normalization, space_of(described["space"]).genes) == (IMAGENET, net.space.genes)
    known = json.loads((parity / "archs.json").read_text())
    for i, row in enumerate(known["archs"]):
        net.set_active(Arch(tuple(row["ks"]), tuple(row["e"]), tuple(row["d"]), 64))
        with torch.no_grad():
            logits = net(torch.from_numpy(stored["x"]))
        assert relative_error(logits, torch.from_numpy(stored["y"][i])) < 1e-4

    # The predictor is the published one, and its report says how it does on networks that it has not seen.
    used, published = (AccuracyPredictor.load(path) for path in (tmp_path / "build/predictor/top1.npz", predictor))
    part = get_space("ofa_mbv3", 0.25, RESOLUTIONS)
    archs = [part.sample(np.random.default_rng(i)) for i in range(20)]
    np.testing.assert_array_equal(used.predict(archs), published.predict(archs))
    found = json.loads((tmp_path / "reports/fit_predictor.json").read_text())
    assert found["rmse_points"] > 10  # the checkpoint's weights are random

    details = json.loads((tmp_path / "reports/train_supernet_details.json").read_text())
    assert details["steps"] == 0
    assert (tmp_path / "reports/train_supernet.csv").read_text() == "step,epoch,lr,loss\n"
    [model] = json.loads((tmp_path / "release/manifest.json").read_text())["models"]
    uint8 = model["files"]["uint8"]
    assert uint8["md5"] == files.md5(tmp_path / "release" / uint8["name"])
    assert "OK" in project.run("ofa_core.commands.main", "verify", "release")


def test_a_classifier_of_other_classes_must_be_fitted(tmp_path: Path) -> None:
    project, checkpoint, predictor = Project(tmp_path), tmp_path / "net.pth", tmp_path / "acc_predictor.pth"
    shutil.copyfile(shared_data("parity/mbv3_w025/checkpoint.pth"), checkpoint)
    shutil.copyfile(shared_data("ofa/acc_predictor.pth"), predictor)
    write_photos(tmp_path / "photos", SYNSETS[:4], train=60, val=20)
    write_params(project, checkpoint, predictor)
    project.run("stages.prepare")
    project.run("stages.fetch_weights")
    said = project.run("stages.train_supernet", code=2)
    assert "train_supernet.epochs: 0 keeps a classifier of 10 classes, but the images have 4" in said
    assert not (tmp_path / "build/supernet").exists()
