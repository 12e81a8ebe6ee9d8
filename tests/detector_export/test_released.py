"""A trained detector as it is released: from the network over float and integer files to the operator at the end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.tflite import convert_float
from ofa_core.detector_export.operator import append_postprocess
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import Network
from ofa_core.runtime.contract import violations
from ofa_core.runtime.detector import TFLiteDetector
from ofa_core.space.detector import BOXES, CLASS_LOGITS, CLASSES
from ofa_core.tasks.detection import Detection
from tests.squares import SETTINGS, SPACE, anchors, trained

TASK, R = Detection(), 32


class Released:
    """The largest sub-network at 32 pixels, its files, and its pictures."""

    def __init__(self) -> None:
        found, arch = trained(), SPACE.largest(R)
        found.net.set_active(arch)
        found.evaluator.calibrate(found.net, R)
        self.network: Network = found.net.extract(arch).eval()
        self.val = found.val
        self.images = to_rgb(resize(found.val.images, R))
        self.network.outputs = (BOXES, CLASSES)
        self.float_file = convert_float(tf_network(self.network))
        self.ranges = calibrate(self.network, self.images, "minmax", "composed")
        self.uint8_file = convert_integer(self.network, self.ranges)
        self.network.outputs = (BOXES, CLASS_LOGITS)


@pytest.fixture(scope="module")
def released() -> Released:
    return Released()


def finished(content: bytes) -> bytes:
    return append_postprocess(content, anchors(R), SETTINGS)


def scores(content: bytes, released: Released) -> dict[str, Any]:
    outputs = TASK.named(*TFLiteDetector(finished(content)).predict(released.images))
    return TASK.score(TASK.answers(outputs), released.val.split)


def test_the_float_file_finds_what_the_network_finds(released: Released) -> None:
    with torch.no_grad():
        expected = released.val.task.finished(released.network(to_input(released.images)))
    found = TASK.named(*TFLiteDetector(finished(released.float_file)).predict(released.images))
    assert TASK.compare(found, expected)["largest_difference"] < 1e-4
    score = TASK.score(TASK.answers(found), released.val.split)
    assert score["map"] == pytest.approx(TASK.score(TASK.answers(expected), released.val.split)["map"], abs=1e-6)
    assert score["map"] > 0.5


def test_the_integer_file_is_nearly_as_good(released: Released) -> None:
    as_float, as_uint8 = scores(released.float_file, released), scores(released.uint8_file, released)
    assert as_uint8["map"] > as_float["map"] - 0.1
    assert as_uint8["ovic_map"] == pytest.approx(as_uint8["map"], abs=0.05)


def test_the_integer_file_meets_the_contract(released: Released, tmp_path: Path) -> None:
    path = tmp_path / "detector.tflite"
    path.write_bytes(finished(released.uint8_file))
    assert violations(path, "detection") == []


def test_equal_networks_give_equal_files(released: Released) -> None:
    released.network.outputs = (BOXES, CLASSES)
    again = convert_integer(released.network, released.ranges)
    released.network.outputs = (BOXES, CLASS_LOGITS)
    assert finished(again) == finished(released.uint8_file)


def test_a_blank_image_after_a_full_one_shows_nothing(released: Released) -> None:
    model = TFLiteDetector(finished(released.uint8_file))
    full = released.images[1:2]
    assert model.predict(full)[3][0] > 0
    outputs = TASK.named(*model.predict(np.concatenate([full, np.zeros_like(full)])))
    before, blank = TASK.found(TASK.answers(outputs))
    assert len(before.boxes) > 0
    assert len(blank.boxes) == outputs["count"][1]
