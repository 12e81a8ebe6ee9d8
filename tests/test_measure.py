"""Measuring: which layers are timed, timing itself on a tiny space, and the correction's arithmetic."""

from dataclasses import replace

import numpy as np
import pytest

from ofa_core.export.runtime import make_interpreter
from ofa_core.latency.table import LatencyTable, Timing
from ofa_core.measure.build import accuracy, build_table, correct, random_archs
from ofa_core.measure.files import distinct_layers, layer_file, trivial_file
from ofa_core.measure.host import HostDevice, time_model
from ofa_core.spaces import MBSpace, get_space


class ArithmeticDevice:
    """A device whose times follow from the order of sizes: half a microsecond a kilobyte and two for a call."""

    def info(self):
        return {"kind": "arithmetic"}

    def time(self, models, label):
        return {name: Timing(3, round(0.002 + len(content) / 2e6, 6), 0.0) for name, content in models.items()}


@pytest.mark.parametrize("name", ["ofa_small", "ofa_small_se", "ofa_resnet50"])
def test_distinct_layers_cover_every_network(name):
    space = get_space(name)
    resolutions = space.resolutions[:2]
    layers = distinct_layers(space, resolutions, 10)
    keys = {layer.key for layer in layers}
    assert len(keys) == len(layers)
    rng = np.random.default_rng(0)
    for arch in random_archs(space, resolutions, 50, seed=1):
        assert {layer.key for layer in space.layers(arch, 10)} <= keys
    if name != "ofa_resnet50":  # few enough that random networks meet all of them
        seen = {
            layer.key
            for _ in range(300)
            for layer in space.layers(space.decode(*_random_codes(space, rng, resolutions))[0], 10)
        }
        assert seen == keys


def _random_codes(space, rng, resolutions):
    return np.array([[rng.integers(len(gene.choices)) for gene in space.genes]]), np.array([rng.choice(resolutions)])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_one_layer_files_of_every_kind_run(dtype):
    spaces = [get_space("ofa_small_se", resolutions=[20]), get_space("ofa_resnet50", resolutions=[32])]
    kinds = {}
    for space in spaces:
        kinds |= {layer.kind: layer for layer in space.layers(space.smallest(), 10)}
    assert set(kinds) == {"conv", "mbconv", "avgpool", "linear", "maxpool", "bottleneck"}
    for layer in kinds.values():
        interpreter = make_interpreter(layer_file(layer, dtype))
        for details in (*interpreter.get_input_details(), *interpreter.get_output_details()):
            assert details["dtype"] == (np.int8 if dtype == "uint8" else np.float32)
        interpreter.invoke()


def test_layer_files_do_not_touch_the_generators():
    import torch

    state, layer = torch.get_rng_state(), get_space("ofa_small").layers(get_space("ofa_small").smallest(), 10)[3]
    assert layer_file(layer, "uint8") == layer_file(layer, "uint8")
    assert torch.equal(state, torch.get_rng_state())


def test_table_of_a_tiny_space_on_this_machine(monkeypatch):
    monkeypatch.setattr(MBSpace, "kernel_sizes", (3, 5))
    monkeypatch.setattr(MBSpace, "expand_ratios", (3,))
    space = get_space("ofa_small", width_mult=0.25, resolutions=[12])
    table, report = build_table(HostDevice(instances=1, seconds=0.002), space, num_classes=4, networks=4)
    assert report["networks_checked"] == len(report["measured_ms"]) == len(report["predicted_ms"]) == 2
    assert all(0 < ms < 50 for ms in report["measured_ms"])
    assert table.scale >= 0
    assert table.overhead_ms >= 0
    table = replace(table, scale=1.0, overhead_ms=0.001)  # two networks of one size fit any line
    assert set(table.layers) == {layer.key for layer in distinct_layers(space, [12], 4)}
    assert all(timing.count == 1 and 0 <= timing.median_ms < 50 for timing in table.layers.values())
    assert table.device["threads"] == 1
    assert len(table.device["date"]) == 10
    assert 0 < table.predict(space, space.largest()) < 500


def test_the_call_is_counted_once(monkeypatch):
    space = get_space("ofa_small", width_mult=0.25, resolutions=[12])
    monkeypatch.setattr("ofa_core.measure.build.layer_file", lambda layer, *_: bytes(4000))
    monkeypatch.setattr("ofa_core.measure.build.trivial_file", lambda dtype: b"")
    table, _ = build_table(ArithmeticDevice(), space, num_classes=4, networks=0)
    assert {timing.median_ms for timing in table.layers.values()} == {0.002}
    arch = space.largest()
    assert table.predict(space, arch) == pytest.approx(0.002 + 0.002 * len(space.layers(arch, 4)))
    with pytest.raises(ValueError, match="networks: 3"):
        build_table(ArithmeticDevice(), space, num_classes=4, networks=3)


def test_correction_recovers_scale_and_overhead():
    space = get_space("ofa_small")
    layers = {layer.key: Timing(3, layer.macs / 1e6, 0.0) for layer in distinct_layers(space, space.resolutions, 10)}
    table = LatencyTable({}, "uint8", space.resolutions, 10, overhead_ms=0.1, layers=layers)
    archs = random_archs(space, space.resolutions, 16, seed=0)
    assert {arch.r for arch in archs[::2]} == {arch.r for arch in archs[1::2]} == set(space.resolutions)
    measured = 0.5 + 1.25 * (table.predict_many(space, archs) - 0.1)
    corrected, report = correct(table, space, archs, measured)
    assert corrected.scale == pytest.approx(1.25, abs=1e-5)
    assert corrected.overhead_ms == pytest.approx(0.5, abs=1e-5)
    assert report["before_correction"]["mape"] > 0.15
    assert report["after_correction"] == {"mape": pytest.approx(0, abs=1e-5), "within_10_percent": 1.0, "kendall_tau": 1.0}
    assert report["networks_checked"] == 8
    assert table.scale == 1.0  # the given table stays


def test_accuracy_by_hand():
    # Errors of 0, 50 and 5 %; two of three pairs in the same order.
    got = accuracy(np.array([1.0, 3.0, 2.1]), np.array([1.0, 2.0, 2.0 / 0.9523809523809523]))
    assert got == {"mape": pytest.approx(0.5 / 3, abs=1e-3), "within_10_percent": 0.666667, "kendall_tau": 0.333333}


def test_time_model_grows_with_the_work(tmp_path):
    space = get_space("ofa_small", resolutions=[32])
    layer = space.layers(space.largest(), 10)[3]
    (tmp_path / "layer.tflite").write_bytes(layer_file(layer, "float32"))
    timing = time_model(tmp_path / "layer.tflite", instances=2, seconds=0.02)
    assert timing.count == 2
    assert timing.spread_ms >= 0
    assert timing.median_ms > time_model(trivial_file("float32"), seconds=0.02).median_ms > 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="instances 0"):
        HostDevice(instances=0)
    with pytest.raises(ValueError, match="not a TFLite file"):
        time_model(b"something else")
