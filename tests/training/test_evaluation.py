"""Evaluation in bounded memory: decoded images that are kept, chunks that change no result."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.images.resize import resize
from ofa_core.nn.inputs import to_input
from ofa_core.training import evaluation
from ofa_core.training.evaluation import Evaluator, network_score
from ofa_core.training.images import Images
from tests.small_training import SPACE, fresh, state_bytes


@pytest.fixture
def evaluator(dataset: Path) -> Evaluator:
    return Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The calls of `Images.decoded` from here on: resolution and number of images."""
    calls, original = list[tuple[int, int]](), Images.decoded

    def counted(self: Images, resolution: int, indices: np.ndarray) -> np.ndarray:
        calls.append((resolution, len(indices)))
        return original(self, resolution, indices)

    monkeypatch.setattr(Images, "decoded", counted)
    return calls


def test_images_are_decoded_once_a_resolution(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, net = decoded(monkeypatch), fresh()
    for arch in (SPACE.smallest(20), SPACE.largest(20), SPACE.smallest(24), SPACE.largest(20)):
        evaluator.subnet_score(net, arch)
    assert calls == [(20, 64), (20, 160), (24, 64), (24, 160)]


def test_the_resolution_used_last_is_kept(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, net = decoded(monkeypatch), fresh()
    monkeypatch.setattr(evaluation, "KEPT_BYTES", (64 + 160) * 24**2)
    for arch in (SPACE.smallest(20), SPACE.largest(20), SPACE.smallest(24), SPACE.largest(24), SPACE.largest(20)):
        evaluator.subnet_score(net, arch)
        assert sum(pixels.nbytes for pixels in evaluator._kept.values()) <= evaluation.KEPT_BYTES
    assert calls == [(20, 64), (20, 160), (24, 64), (24, 160), (20, 64), (20, 160)]


def test_a_split_that_is_too_large_is_read_every_time(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = evaluator.subnet_score(fresh(), SPACE.largest(20))
    calls = decoded(monkeypatch)
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 64 * 20**2)
    evaluator._kept.clear()
    net = fresh()
    assert [evaluator.subnet_score(net, SPACE.largest(20)) for _ in range(2)] == [expected] * 2
    assert calls == [(20, 64)]  # val is not kept


def test_chunks_change_no_result(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts, arch = fresh(), fresh(), SPACE.largest(20)
    score = evaluator.subnet_score(whole, arch)
    monkeypatch.setattr(evaluation, "PASS_PIXELS", 10 * 20**2)
    parts.set_active(arch)
    assert [len(x) for x in evaluator.calibrate(parts, 20)] == [10] * 6 + [4]
    for (name, expected), found in zip(whole.named_buffers(), parts.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert evaluator.score(parts, 20) == pytest.approx(score, abs=1 / 160)


def test_calibration_images_are_those_of_the_statistics(evaluator: Evaluator) -> None:
    net = fresh()
    net.set_active(SPACE.smallest(20))
    images = evaluator.calibrate(net, 20)
    pixels = resize(evaluator.train.images[evaluator.indices], 20)
    assert torch.equal(torch.cat(list(images)), to_input(pixels))
    some = torch.cat(images.spread(10)[:])
    assert torch.equal(some, to_input(pixels[np.linspace(0, 63, 10).astype(int)]))
    assert len(torch.cat(images.spread(1000)[:])) == 64


def test_evaluation_folds_batch_norm_and_changes_nothing(evaluator: Evaluator) -> None:
    net, arch = fresh(), SPACE.largest(24)
    score = evaluator.subnet_score(net, arch)
    before, val = state_bytes(net), evaluator.val
    x, labels = to_input(val.at(24)), torch.from_numpy(val.labels)
    with torch.no_grad():
        plain = (net(x).argmax(1) == labels).float().mean().item()
    assert score == pytest.approx(plain, abs=1 / 160)
    assert network_score(net, val.batches(24, 7), val.task) == pytest.approx(plain, abs=1 / 160)
    assert state_bytes(net) == before
