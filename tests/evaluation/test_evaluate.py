"""The final evaluation of released files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.convert.network import tf_network
from ofa_core.convert.tflite import convert_float
from ofa_core.evaluation import evaluate as evaluation
from ofa_core.evaluation.evaluate import correct, measure, score
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.nn import build_supernet
from ofa_core.nn.inputs import to_input
from ofa_core.space.registry import get_space
from ofa_core.tasks.registry import get_task


def test_score_counts_every_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with random weights, on all cores in small parts, against torch's order of classes."""
    monkeypatch.setattr(evaluation, "BATCH", 5)
    space = get_space("ofa_small_k7", 0.5)
    torch.manual_seed(0)
    net = build_supernet(space, 6).extract(space.smallest(24)).eval()
    task = get_task("classification")
    images = np.random.default_rng(0).integers(0, 256, (23, 24, 24, 3), dtype=np.uint8)
    path = tmp_path / "float.tflite"
    path.write_bytes(convert_float(tf_network(net)))
    with torch.no_grad():
        ranked = net(to_input(images)).argsort(1, descending=True).numpy()
    assert score(path, images, ranked[:, 0], task) == {"top1": 1.0, "top5": 1.0, "balanced_top1": 1.0}
    assert score(path, images, ranked[:, 1], task) == {"top1": 0.0, "top5": 1.0, "balanced_top1": 0.0}
    assert score(path, images, ranked[:, 5], task) == {"top1": 0.0, "top5": 0.0, "balanced_top1": 0.0}
    mixed = np.where(np.arange(23) < 7, ranked[:, 0], ranked[:, 5])
    assert correct(path, images, mixed, task).tolist() == [True] * 7 + [False] * 16
    found = measure({"float": path}, images, mixed, EvaluateParams(threads=1, instances=1, milliseconds=1), task)
    assert found["float_top1"] == pytest.approx(7 / 23)
    assert found["float_latency_ms"] > 0
    assert "top1" not in found
