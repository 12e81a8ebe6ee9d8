"""A detector that starts from a classifier's weights, and the sub-networks of its steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.detectors.sampling import sandwich
from ofa_core.detectors.starting import load_backbone
from ofa_core.nn.inputs import IMAGENET
from ofa_core.nn.network import build_supernet
from ofa_core.nn.weights import describe, save_weights
from ofa_core.space.registry import get_space
from tests.squares import SPACE


def test_the_backbone_computes_what_the_classifier_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier, detector = build_supernet(SPACE.backbone, 7).eval(), build_supernet(SPACE, 2).eval()
    heads = detector.state_dict()["parts.boxes_0.conv.weight"].clone()
    classifier.normalization = IMAGENET
    path = tmp_path / "classifier.safetensors"
    save_weights(path, classifier, describe(classifier, SPACE.backbone))
    load_backbone(detector, path)
    assert detector.normalization == IMAGENET
    assert torch.equal(detector.state_dict()["parts.boxes_0.conv.weight"], heads)
    arch = SPACE.backbone.sample(np.random.default_rng(0))
    classifier.set_active(arch)
    detector.active = [layer for layer in classifier.active if layer.kind not in ("avgpool", "linear")]
    classifier.outputs = detector.outputs = (detector.active[-1].name,)
    x = torch.randn(2, 3, arch.r, arch.r)
    with torch.no_grad():
        [(_, expected)], [(_, found)] = classifier(x).items(), detector(x).items()
    assert torch.equal(found, expected)


def test_weights_of_another_space_and_networks_that_detect_nothing(tmp_path: Path) -> None:
    other = build_supernet(get_space("ofa_small_k7", 0.5, (32, 40)), 7)
    path = tmp_path / "other.safetensors"
    save_weights(path, other, describe(other, other.space))
    with pytest.raises(ValueError, match=r"^.*other\.safetensors: does not fit the network"):
        load_backbone(build_supernet(SPACE, 2), path)
    with pytest.raises(ValueError, match=r"^space: ofa_small_k7: not a detector's$"):
        load_backbone(other, path)


def test_the_sub_networks_of_a_step_have_one_resolution() -> None:
    sample = sandwich(build_supernet(SPACE, 2), middle=2)
    steps = [sample(np.random.default_rng(i)) for i in range(20)]
    assert all([subnet.role for subnet in step] == ["largest", "smallest", "middle", "middle"] for step in steps)
    assert all(len({subnet.resolution for subnet in step}) == 1 for step in steps)
    assert {step[0].resolution for step in steps} == set(SPACE.resolutions)
