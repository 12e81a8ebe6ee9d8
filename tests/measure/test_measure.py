"""Measuring: which layers are timed, timing on a tiny space, and the arithmetic of the correction."""

from dataclasses import replace

import numpy as np
import pytest

from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.timed_files import layer_file, network_file, trivial_file
from ofa_core.latency.origin import check_origin
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.build import build_table, random_archs
from ofa_core.measure.correction import adapt, correct, prediction_errors
from ofa_core.runtime.device_record import host_device
from ofa_core.runtime.host import HostDevice, time_model
from ofa_core.runtime.sampling import measure
from ofa_core.runtime.tflite import make_interpreter
from ofa_core.runtime.timing import Timing, standard_error, summary
from ofa_core.space.layer_sums import distinct_layers
from ofa_core.space.registry import get_space
from tests.conftest import shared_data
from tests.convert.test_timed_files import device


class ArithmeticDevice:
    """A device whose times follow from file sizes: half a microsecond per kilobyte plus two per call."""

    def __init__(self, stop_after=None):
        self.runs, self.stop_after = 0, stop_after

    def info(self):
        return {"kind": "arithmetic"}

    def milliseconds(self, model):
        if self.runs == self.stop_after:
            raise KeyboardInterrupt
        self.runs += 1
        return 0.002 + model.stat().st_size / 2e6


@pytest.mark.parametrize("name", ["ofa_small_k7", "ofa_small_se", "ofa_resnet50"])
def test_distinct_layers_cover_every_network(name):
    space = get_space(name)
    resolutions = space.resolutions[:2]
    layers = distinct_layers(space, resolutions, 10)
    keys = {layer.key for layer in layers}
    assert len(keys) == len(layers)
    rng = np.random.default_rng(0)
    for arch in random_archs(space, resolutions, 50, seed=1):
        assert {layer.key for layer in space.layers(arch, 10)} <= keys
    if name != "ofa_resnet50":  # few enough layers that random networks contain all of them
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
        [output] = interpreter.get_output_details()
        assert output["dtype"] == (np.int8 if dtype == "uint8" else np.float32)
        interpreter.invoke()


def test_the_layer_that_sees_the_image_takes_uint8():
    space = get_space("ofa_small_k7", resolutions=[20])
    first, second, *_ = space.layers(space.smallest(), 10)
    for layer, expected in ((first, np.uint8), (second, np.int8)):
        interpreter = make_interpreter(layer_file(layer, "uint8"))
        assert interpreter.get_input_details()[0]["dtype"] == expected
        assert interpreter.get_output_details()[0]["dtype"] == np.int8


def test_signals_do_not_fade_in_networks_to_be_timed():
    """XNNPACK runs an integer addition only if input and output scales differ by less than a factor of 2**10.

    Otherwise slow kernels run (xnn_create_add_nd_qs8). Ratios are 0.3 to 1 in the released networks and 0.2 to 4 in a trained
    MobileNetV3-Small.
    """
    space = get_space("ofa_mbv3", 1.0, (64,))
    model = read_model(network_file(space, space.smallest(64), 10, "uint8"))
    [graph] = model.subgraphs
    scales = [tensor.quantization.scale for tensor in graph.tensors]
    additions = [operator for operator in graph.operators if model.operatorCodes[operator.opcodeIndex].builtinCode == 0]
    assert len(additions) >= 20
    for operator in additions:
        [out] = scales[operator.outputs[0]]
        for index in operator.inputs:
            assert 0.1 < scales[index][0] / out < 10


def test_layer_files_do_not_touch_the_generators():
    import torch

    state, layer = torch.get_rng_state(), get_space("ofa_small_k7").layers(get_space("ofa_small_k7").smallest(), 10)[3]
    assert layer_file(layer, "uint8") == layer_file(layer, "uint8")
    assert torch.equal(state, torch.get_rng_state())


def test_table_of_a_tiny_space_on_this_machine(tmp_path):
    space = get_space("ofa_small_k7", width_mult=0.25, resolutions=[12]).restrict({"ks": (3, 5), "e": (3,)})
    table, report = build_table(HostDevice(seconds=0.002), space, tmp_path, num_classes=4, instances=1, max_error=1, networks=4)
    assert report["networks_checked"] == len(report["measured_ms"]) == len(report["predicted_ms"]) == 2
    assert all(0 < ms < 50 for ms in report["measured_ms"])
    assert table.scale >= 0
    assert table.overhead_ms >= 0
    table = replace(table, scale=1.0, overhead_ms=0.001)  # a fit to two networks of one size is arbitrary
    assert set(table.layers) == {layer.key for layer in distinct_layers(space, [12], 4)}
    assert all(1 <= timing.count <= 4 and 0 <= timing.median_ms < 50 for timing in table.layers.values())
    assert table.device["threads"] == 1
    assert len(table.device["date"]) == 10
    assert 0 < table.predict(space, space.largest()) < 500


def test_the_call_is_counted_once(monkeypatch, tmp_path):
    space = get_space("ofa_small_k7", width_mult=0.25, resolutions=[12])
    monkeypatch.setattr("ofa_core.measure.build.layer_file", lambda layer, *_: bytes(4000))
    monkeypatch.setattr("ofa_core.measure.build.trivial_file", lambda dtype: b"")
    table, _ = build_table(ArithmeticDevice(), space, tmp_path, num_classes=4, networks=0)
    assert {timing.median_ms for timing in table.layers.values()} == {0.002}
    arch = space.largest()
    assert table.predict(space, arch) == pytest.approx(0.002 + 0.002 * len(space.layers(arch, 4)))
    with pytest.raises(ValueError, match="networks: 3"):
        build_table(ArithmeticDevice(), space, tmp_path, num_classes=4, networks=3)


def test_a_stopped_build_goes_on(monkeypatch, tmp_path):
    space = get_space("ofa_small_k7", width_mult=0.25, resolutions=[12])
    made = []
    monkeypatch.setattr("ofa_core.measure.build.layer_file", lambda layer, *_: made.append(layer.key) or bytes(4 * layer.macs))
    monkeypatch.setattr("ofa_core.measure.build.trivial_file", lambda dtype: b"")
    whole, _ = build_table(ArithmeticDevice(), space, tmp_path / "a", num_classes=4, networks=0)
    files = len(whole.layers) + 1
    made.clear()
    stopped, again = ArithmeticDevice(stop_after=files + 7), ArithmeticDevice()
    with pytest.raises(KeyboardInterrupt):
        build_table(stopped, space, tmp_path / "b", num_classes=4, networks=0)
    with (tmp_path / "b/layers.jsonl").open("a") as f:
        f.write('["mbconv-')  # as after a kill in the middle of a line
    table, _ = build_table(again, space, tmp_path / "b", num_classes=4, networks=0)
    assert table.layers == whole.layers
    assert stopped.runs + again.runs == 3 * files
    assert len(made) == len(whole.layers)  # no file was built twice
    other = ArithmeticDevice()
    other.info = lambda: {"kind": "another"}
    build_table(other, space, tmp_path / "b", num_classes=4, networks=0)
    assert other.runs == 3 * files  # values of another device are not reused


def test_uncertain_files_are_timed_more_often(tmp_path):
    class Noisy(ArithmeticDevice):
        def milliseconds(self, model):
            self.runs += 1
            return {"still": 1.0, "noisy": 1 + 0.2 * np.sin(self.runs), "tiny": 0.001 + 0.0001 * (self.runs % 2)}[model.name]

    models = {name: tmp_path / name for name in ("still", "noisy", "tiny")}
    timings = measure(Noisy(), models, 3, 0.01, tmp_path / "journal", "test")
    assert (timings["still"].count, timings["noisy"].count, timings["tiny"].count) == (3, 12, 3)
    assert timings["still"].spread_ms == 0 < timings["noisy"].spread_ms <= 0.4


def test_standard_error_of_the_median():
    values = np.random.default_rng(0).normal(1, 0.05, 400)
    assert standard_error(list(values)) == pytest.approx(1.2533 * 0.05 / 20, rel=0.2)
    assert standard_error([1.0]) == float("inf")
    assert standard_error([0.0001, 0.0002, 0.0003]) == 0


def test_the_time_of_a_file_is_the_median_of_its_instances():
    assert summary([3.0, 1.0, 1.2, 9.0, 1.1]) == Timing(count=5, median_ms=1.2, spread_ms=8.0)
    assert summary([2.0, 1.0, 10.0, 3.0]) == Timing(count=4, median_ms=2.5, spread_ms=9.0)


def test_another_runtime_warns_and_another_machine_stops(capsys):
    params = device(source="measure", file=None, file_md5=None)
    here = LatencyTable(host_device(1) | {"date": "2020-01-01"}, "uint8", (12,))
    check_origin("host", params, here)
    assert capsys.readouterr().err == ""
    check_origin("host", params, replace(here, device=here.device | {"runtime_version": "1.15"}))
    assert "runtime_version: 1.15" in capsys.readouterr().err
    elsewhere = replace(here, device=here.device | {"cpu": "MOS 6502"})
    with pytest.raises(ValueError, match=r"measured elsewhere \(cpu: MOS 6502"):
        check_origin("host", params, elsewhere)
    check_origin("host", device(), elsewhere)  # source file


def test_networks_of_a_correction_are_of_all_sizes():
    """Includes small networks, which a search asks for and independent genes never give. All choices are equally frequent."""
    space, count = get_space("ofa_mbv3", 1.0), 2000
    archs = random_archs(space, (160, 224), count, seed=0)
    assert [arch.r for arch in archs[:6]] == [160, 160, 224, 224, 160, 160]
    codes, _ = space.encode(archs)
    for column, gene in enumerate(space.genes):
        shares = np.bincount(codes[:, column], minlength=len(gene.choices)) / count
        assert shares == pytest.approx(1 / len(gene.choices), abs=0.03)
    macs = [[space.cost(replace(arch, r=160)).macs for arch in chosen] for chosen in (archs[:40:2], archs[1:40:2])]
    rng = np.random.default_rng(0)
    independent = [space.cost(replace(space.sample(rng), r=160)).macs for _ in range(2000)]
    for found in macs:  # networks for fitting, networks for checking
        assert min(found) < min(independent)
        assert max(found) > max(independent)


def test_correction_recovers_scale_and_overhead():
    space = get_space("ofa_small_k7")
    layers = {layer.key: Timing(3, layer.macs / 1e6, 0.0) for layer in distinct_layers(space, space.resolutions, 10)}
    table = LatencyTable({}, "uint8", space.resolutions, 10, overhead_ms=0.1, layers=layers)
    archs = random_archs(space, space.resolutions, 16, seed=0)
    assert {arch.r for arch in archs[::2]} == {arch.r for arch in archs[1::2]} == set(space.resolutions)
    measured = 0.5 + 1.25 * (table.predict_many(space, archs) - 0.1)
    corrected, report = correct(table, space, archs, measured)
    assert corrected.scale == pytest.approx(1.25, rel=0.02)
    assert corrected.overhead_ms == pytest.approx(0.5, rel=0.1)
    assert report["before_correction"]["mape"] > 0.15
    assert report["mape"] < 0.002
    assert (report["within_10_percent"], report["within_5_percent"], report["kendall_tau"]) == (1, 1, 1)
    assert report["networks_checked"] == 8
    assert table.scale == 1.0  # the given table is unchanged


def test_a_published_table_is_carried_to_another_resolution():
    """The Note 10 at 160 pixels, from 20 networks and the layer times at 224 pixels: the same phone, different cache use."""
    tables = {r: LatencyTable.load(shared_data(f"ofa/note10/{r}_lookup_table.yaml")) for r in (160, 224)}
    space, rng = get_space("ofa_mbv3", 1.2), np.random.default_rng(0)
    archs = [replace(space.sample(rng), r=224) for _ in range(60)]
    target = tables[160].predict_many(space, [replace(arch, r=160) for arch in archs])
    adapted, report = adapt(tables[224], space, archs[:20], target[:20], {"kind": "published", "file": "160"})
    assert adapted.device["file"] == "160"
    assert report["networks"] == 20
    held_out = prediction_errors(adapted.predict_many(space, archs[20:]), target[20:])
    assert held_out["mape"] < 0.03
    assert report["leave_one_out"]["mape"] == pytest.approx(held_out["mape"], abs=0.01)
    with pytest.raises(ValueError, match="at least 4"):
        adapt(tables[224], space, archs[:3], target[:3], {})


def test_accuracy_by_hand():
    # Errors are 0, 50 and 5 %. Two of three pairs are in the same order.
    got = prediction_errors(np.array([1.0, 3.0, 2.1]), np.array([1.0, 2.0, 2.0 / 0.9523809523809523]))
    assert got == {"mape": pytest.approx(0.5 / 3, abs=1e-3), "within_10_percent": 0.666667, "within_5_percent": 0.666667,
                   "kendall_tau": 0.333333}  # fmt: skip


def test_time_model_grows_with_the_work(tmp_path):
    space = get_space("ofa_small_k7", resolutions=[32])
    layer = space.layers(space.largest(), 10)[3]
    (tmp_path / "layer.tflite").write_bytes(layer_file(layer, "float32"))
    timing = time_model(tmp_path / "layer.tflite", instances=2, seconds=0.02)
    assert timing.count == 2
    assert timing.spread_ms >= 0
    assert timing.median_ms > time_model(trivial_file("float32"), seconds=0.02).median_ms > 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="instances 0"):
        time_model(trivial_file("uint8"), instances=0)
    with pytest.raises(ValueError, match=r"cores: \[4000\]"):
        HostDevice(cores=[4000])
    with pytest.raises(ValueError, match="not a TFLite file"):
        time_model(b"something else")
