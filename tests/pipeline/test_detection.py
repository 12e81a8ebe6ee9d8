"""Every stage of detection on a few annotated photos, without any stage of classification but the weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ofa_core.images.boxes import load_boxes
from ofa_core.run import files
from ofa_core.runtime.contract import violations
from tests.conftest import REPO, shared_data
from tests.projects import Project

pytestmark = pytest.mark.slow

SMALL: dict[str, dict[str, Any]] = {
    "training": {"bn_images": 16, "device": "cpu", "threads": 1},
    "detector": {"taps": ["block_6.expand", "final_expand"], "extra": [], "widths": [8, 16], "resolutions": [64, 80]},
    "prepare_detection": {"dataset": "coco", "tracked": "data/detection.index", "image_size": 96, "train_images": 0}
    | {"unlabelled_images": 0, "val_images": 6, "test_images": 4},
    "train_detector": {"pretrained": False, "epochs": 1, "warmup_epochs": 0, "batch_size": 8, "lr": 0.001}
    | {"optimizer": "rmsprop"},
    "collect_detector": {"architectures": 20},
    "search_detector": {"candidates": 2, "targets": {"tiny": {"fraction": 0.3}}},
    "distill_detector": {"learn_from": "labels", "epochs": 0.5, "warmup_epochs": 0, "lr": 0.01},
    "quantize_detector": {"epochs": 0.5, "warmup_epochs": 0},
    "export_detector": {"calibration_images": 8, "max_int8_drop": 1.0},
    "evaluate_detector": {"timed_images": 2, "score_thresholds": [0.05]},
}
"""What makes it short: sections and keys."""


def write_params(project: Project, photos: Path) -> None:
    """Writes params.yaml: the default, for annotated photos, with few steps and measurements."""
    yaml = YAML()
    content = yaml.load(REPO / "params/default.yaml")
    for section, values in SMALL.items():
        content[section].update(values)
    content["prepare_detection"]["folder"] = str(photos)
    content["build_detector_table"]["devices"]["host"] |= {"instances": 1, "max_error": 1.0, "milliseconds": 1, "networks": 4}
    with (project.folder / "params.yaml").open("w") as file:
        yaml.dump(content, file)


def test_annotated_photos_become_a_released_detector(tmp_path: Path) -> None:
    project = Project(tmp_path)
    write_params(project, shared_data("images/tiny_coco.zip"))
    project.run("stages.prepare_detection")
    project.run("stages.train_detector")
    project.run("stages.build_detector_table", "--device", "host")
    project.run("stages.collect_detector")
    project.run("stages.search_detector")
    project.run("stages.pseudo_label")
    project.run("stages.distill_detector", "--target", "tiny")
    project.run("stages.quantize_detector", "--target", "tiny")
    project.run("stages.export_detector", "--target", "tiny")
    project.run("stages.evaluate_detector", "--target", "tiny")

    folder = tmp_path / "build/exported/det-tiny"
    assert violations(folder / "model.tflite", "detection") == []
    test = load_boxes(tmp_path / "build/detector/data/detection.npz", "test")
    assert (folder / "model.labels.txt").read_text().splitlines() == list(test.classes)
    report = json.loads((tmp_path / "reports/evaluate_detector/tiny.json").read_text())
    details = json.loads((tmp_path / "reports/evaluate_detector/tiny_details.json").read_text())
    released = json.loads((tmp_path / "build/exported/det-tiny.metrics.json").read_text())
    assert released["map"] == report["map"] >= 0
    assert details["images"] == len(test.images) == 4
    assert report["latency_ms"] == pytest.approx(details["network_ms"] + details["postprocess_ms"], abs=1e-5)
    assert [row["suppression"] for row in details["val"]] == ["regular", "fast"]

    # A second export, in another process, has the same bytes.
    before = {path.name: files.md5(path) for path in folder.iterdir()}
    shutil.rmtree(folder)
    project.run("stages.export_detector", "--target", "tiny")
    assert {path.name: files.md5(path) for path in folder.iterdir()} == before
