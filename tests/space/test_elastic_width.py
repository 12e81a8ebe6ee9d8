"""A table with elastic widths through the whole chain: super-network, extracted network, file, latency, predictor, search."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.convert.network import tf_network
from ofa_core.convert.tflite import convert_float
from ofa_core.measure.build import build_table
from ofa_core.nn.sorting import sort_channels
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.quantization.observe import fake_quantized
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.search import search
from ofa_core.space.layer_sums import distinct_layers
from tests.convert.test_network import normalised, random_images
from tests.measure.test_measure import ArithmeticDevice
from tests.networks import CLASSES, ELASTIC, TINY, images, random_net, relative_error

SPACE = TINY["elastic_width"]
MIDDLE = replace(SPACE.largest(16), w=(16, 8, 24, 16, 32, 32), e=(1, 1, 1.5, 3, 1.5))


def test_widths_are_genes_of_the_layers_around_them() -> None:
    assert [gene.choices for gene in SPACE.genes if gene.field == "w"] == list(ELASTIC.widths)
    columns = {column: gene.position for column, gene in enumerate(SPACE.genes) if gene.field == "w"}
    rows = {slot.name: tuple(columns[column] for column in slot.genes if column in columns) for slot in SPACE.slots}
    assert rows == {
        "first_conv": (0,), "block_0": (0, 1), "block_1": (1, 2), "block_2": (2,), "block_3": (2, 3), "block_4": (3,),
        "block_5": (3,), "final_expand": (3, 4), "pool": (4,), "feature_mix": (4, 5), "classifier": (5,),
    }  # fmt: skip


def test_a_block_is_residual_in_all_networks_or_none() -> None:
    rng = np.random.default_rng(0)
    found = {(layer.name, layer.residual) for _ in range(200) for layer in SPACE.layers(SPACE.sample(rng))}
    assert {name for name, residual in found if residual} == {"block_2", "block_4", "block_5"}
    assert len(found) == len(SPACE.slots)


def test_supernet_extracted_network_file_and_its_simulation_agree() -> None:
    net = random_net(SPACE)
    net.set_active(MIDDLE)
    pictures = random_images(4, 16)
    x = normalised(pictures)
    with torch.no_grad():
        expected, network = net(x), net.extract(MIDDLE)
        assert relative_error(network(x), expected) < 1e-5
        simulated = fake_quantized(network, [x])
        simulated.weights = simulated.activations = False
        assert relative_error(simulated(x), expected) < 1e-4
    assert [layer.out for layer in network.active] == [16, 8, 24, 24, 16, 16, 16, 32, 32, 32, CLASSES]
    found = TFLiteModel(convert_float(tf_network(network))).predict(pictures)
    np.testing.assert_allclose(found, expected.softmax(1), rtol=0, atol=1e-5)


def test_sorting_keeps_every_trained_width_and_leaves_unexpanded_blocks_alone() -> None:
    before, after = random_net(SPACE), random_net(SPACE)
    sort_channels(after, SPACE)
    x = images(16)
    for arch in (SPACE.largest(16), MIDDLE, SPACE.smallest(16)):
        for net in (before, after):
            net.set_active(arch)
        with torch.no_grad():
            assert relative_error(after(x), before(x)) < 1e-5


def test_accuracies_predictor_latency_and_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ofa_core.measure.build.layer_file", lambda layer, *_: bytes(max(4, layer.macs // 4)))
    monkeypatch.setattr("ofa_core.measure.build.trivial_file", lambda dtype: b"")
    table, _ = build_table(ArithmeticDevice(), SPACE, tmp_path, num_classes=CLASSES, networks=0)
    assert set(table.layers) == {layer.key for layer in distinct_layers(SPACE, SPACE.resolutions, CLASSES)}
    rng = np.random.default_rng(0)
    archs = [SPACE.sample(rng) for _ in range(60)]
    top1 = np.array([0.1 * np.log10(SPACE.cost(arch, CLASSES).macs) for arch in archs])
    Accuracies.of(SPACE, archs, [{"top1": value} for value in top1]).write(tmp_path / "accuracies")
    read = Accuracies.read(tmp_path / "accuracies")
    assert read.archs == archs
    predictor = AccuracyPredictor.fit(read.space, read.archs, read.values["top1"])
    times = [table.predict(SPACE, arch) for arch in archs]
    found = search(SPACE, predictor, table, budget_ms=float(np.median(times)))
    assert found.latency_ms == pytest.approx(table.predict(SPACE, found.arch))
    assert found.latency_ms <= np.median(times)
    assert found.arch.w is not None
    SPACE.validate(found.arch)
    fitting = predictor.predict([arch for arch, ms in zip(archs, times, strict=True) if ms <= np.median(times)])
    assert found.accuracy >= fitting.max() - 1e-9
