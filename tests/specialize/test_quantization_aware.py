"""Quantisation-aware training: it resumes exactly, saves ranges with its weights, and export picks the better network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofa_core.export.post_or_aware import choose, integer_file, load_candidates
from ofa_core.export.scales import check_scales, compare_scales
from ofa_core.nn.network import LayerModule
from ofa_core.nn.weights import load_network, load_ranges, save_network
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.params import Quantization
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.specialize.fine_tuning import saved_score
from ofa_core.training import loop
from ofa_core.training.evaluation import network_score
from ofa_core.training.images import Images
from tests.convert.test_network import conversion
from tests.small_training import MACHINE, RARELY, SPACE, fresh, state_bytes
from tests.specialize.test_fine_tuning import ARCH, tuning_of

ORIGIN = {"space": {"name": SPACE.name, "width_mult": SPACE.width_mult}, "num_classes": 10}


def run(dataset: Path, work: Path, quantization: Quantization = "aware", **changes: object) -> LayerModule:
    """A sub-network of a barely trained super-network, specialised."""
    net = fresh()
    tuning = tuning_of(dataset, net.extract(SPACE.largest()).eval(), **changes)
    tuning = replace(tuning, machine=RARELY if quantization == "post" else MACHINE)
    work.mkdir(exist_ok=True)
    return tuning.specialize(net.extract(ARCH), quantization, work)[0]


@pytest.mark.parametrize("ranges", ["learned", "observed"])
def test_it_learns_and_resumes_exactly(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: str) -> None:
    whole = run(dataset, tmp_path / "whole", ranges=ranges)
    assert isinstance(whole, FakeQuantized)
    passes = int(whole.passes)
    assert whole.delay == round(0.3 * passes)
    start = run(dataset, tmp_path / "start", ranges=ranges, epochs=1e-9)
    assert isinstance(start, FakeQuantized)
    moved = [name for name, bounds in whole.ranges.items() if bounds != start.ranges[name]]
    assert len(moved) > 15  # all but those from 0 to 6
    if ranges == "learned":
        assert whole.high_shift is not None
        assert whole.high_shift.abs().max() > 0

    update, steps = loop._update, 0
    monkeypatch.setattr(loop, "HISTORY_STEPS", 2)  # checkpoints are written between rows

    def killed(*args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == passes // 2:
            raise KeyboardInterrupt
        update(*args)

    monkeypatch.setattr(loop, "_update", killed)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "killed", ranges=ranges)
    monkeypatch.setattr(loop, "_update", update)
    assert state_bytes(run(dataset, tmp_path / "killed", ranges=ranges)) == state_bytes(whole)


def test_files_hold_ranges_and_the_better_one_is_released(dataset: Path, tmp_path: Path) -> None:
    val = Images(dataset, "val")
    for quantization in ("post", "aware"):
        module = run(dataset, tmp_path / quantization, quantization)
        path = tmp_path / "networks" / f"{quantization}.safetensors"
        if isinstance(module, FakeQuantized):
            save_network(path, module.network, ARCH, ORIGIN, module.ranges)
            assert load_ranges(path) == module.ranges
        else:
            save_network(path, module, ARCH, ORIGIN)
            assert load_ranges(path) is None
        expected = network_score(module, val.batches(20, 500), val.task)
        assert saved_score(path, dataset, "val", 1) == expected

    candidates = load_candidates(tmp_path / "networks")
    assert [candidate.quantization for candidate in candidates] == ["post", "aware"]
    calibration, images = Images(dataset, "train").at(20)[:50], val.at(20)[:100]
    assert isinstance(images, np.ndarray)
    images, calibration = (x.repeat(3 // x.shape[-1], axis=-1) for x in (images, calibration))
    params = conversion(formats=("uint8",))
    contents = [integer_file(candidate, params, "composed", calibration) for candidate in candidates]
    # Labels that the aware network's file gets all right, then the other's.
    for better, content in zip(("aware", "post"), reversed(contents), strict=True):
        labels = TFLiteModel(content).predict(images).argmax(1)
        best, found = choose(candidates, params, "composed", calibration, images, labels, val.task)
        assert best.quantization == better
        assert found[better] == 1
    ranges = candidates[1].ranges
    assert ranges is not None
    check_scales(compare_scales(contents[1], FakeQuantized(candidates[1].network, ranges)))
    assert choose(candidates[:1], params, "composed", calibration, images, labels, val.task) == (candidates[0], {})


def test_foreign_files_are_one_clear_line(tmp_path: Path) -> None:
    net = fresh().extract(ARCH)
    path = tmp_path / "aware.safetensors"
    with pytest.raises(ValueError, match=r": holds no network$"):
        load_candidates(tmp_path)
    save_network(path, net, ARCH, ORIGIN)
    with pytest.raises(ValueError, match=r"aware\.safetensors: no ranges of activations$"):
        load_candidates(tmp_path)
    save_network(path, net, ARCH, ORIGIN, {"first_conv": (0.0, float("nan"))})
    with pytest.raises(ValueError, match=r"^ranges: first_conv: \(0.0, nan\) is not a range$"):
        FakeQuantized(load_network(path)[0], load_ranges(path))
    save_network(path, net, ARCH, ORIGIN, {"first_conv": "wide"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"aware\.safetensors: ranges: not pairs of numbers$"):
        load_ranges(path)


def test_the_network_inside_stays_an_ordinary_one(dataset: Path, tmp_path: Path) -> None:
    module = run(dataset, tmp_path / "x")
    assert isinstance(module, FakeQuantized)
    module.weights = module.activations = False
    x = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        np.testing.assert_allclose(module(x), module.network(x), atol=1e-4)
