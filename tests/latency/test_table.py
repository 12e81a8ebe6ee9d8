"""Latency tables: published files against the numbers of the official code, our file format, and missing entries."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ofa_core.latency import LatencyTable
from ofa_core.latency.params import AndroidParams, DeviceParams
from ofa_core.runtime.device_record import differences, host_device
from ofa_core.runtime.timing import Timing
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space
from tests.conftest import shared_data


@pytest.fixture
def small_table():
    """A synthetic table of every layer of ofa_small_k7 at 20 and 32 pixels: one millisecond per ten million MACs."""
    space = get_space("ofa_small_k7", resolutions=[20, 32])
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(400)]
    layers = {layer.key: layer for arch in archs for layer in space.layers(arch, 10)}
    timings = {key: Timing(3, round(layer.macs / 1e7, 6), 0.001) for key, layer in layers.items()}
    return space, archs, LatencyTable({"kind": "test"}, "uint8", (20, 32), 10, scale=1.5, overhead_ms=0.25, layers=timings)


def test_note10_tables_give_the_official_numbers(tmp_path):
    table = LatencyTable.load(shared_data("ofa/note10"))
    predictions = json.loads(shared_data("ofa/note10_predictions.json").read_text())
    space = get_space("ofa_mbv3", width_mult=1.2)
    archs = [Arch.from_dict(entry["arch"]) for entry in predictions]
    official = np.array([entry["note10_ms"] for entry in predictions])
    assert set(arch.r for arch in archs) == {160, 192, 224} == set(table.resolutions)
    np.testing.assert_allclose([table.predict(space, arch) for arch in archs], official, rtol=0, atol=1e-6)
    np.testing.assert_allclose(table.predict_many(space, archs), official, rtol=0, atol=1e-6)
    table.save(tmp_path / "ours.json")
    assert LatencyTable.load(tmp_path / "ours.json") == table


def test_a_single_note10_file_serves_its_resolution_only():
    table = LatencyTable.load(shared_data("ofa/note10/160_lookup_table.yaml"))
    space = get_space("ofa_mbv3", width_mult=1.2)
    assert table.resolutions == (160,)
    assert 5 < table.predict(space, space.smallest(160)) < table.predict(space, space.largest(160)) < 100
    for resolution in (176, 192):
        with pytest.raises(KeyError, match=f"Conv-input:{resolution}x{resolution}x3"):
            table.predict(space, space.largest(resolution))
        with pytest.raises(KeyError, match=f"Conv-input:{resolution}x{resolution}x3"):
            table.predict_many(space, [space.largest(160), space.largest(resolution)])


def test_note10_table_is_not_for_another_width():
    table = LatencyTable.load(shared_data("ofa/note10"))
    space = get_space("ofa_mbv3", width_mult=1.0)
    with pytest.raises(KeyError, match="Conv-input:224x224x3-output:112x112x16"):
        table.predict(space, space.largest(224))


def test_pixel1_table_knows_expand_ratios_3_and_6():
    path = shared_data("ofa/pixel1_mobile_trim.yaml")
    table, space = LatencyTable.load(path), get_space("ofa_proxyless", width_mult=1.0)
    largest = space.largest(224)
    # By hand: the sum of the entries used by a network with ratio 6, kernel 7 and full depth.
    entries, repeats = {}, {}
    for line in path.read_text().splitlines():
        if not line.startswith(" "):
            key = line.rstrip(":")
        elif line.strip().startswith("mean"):
            entries[key] = float(line.split(":")[1])
    for key in entries:
        wide = "-expand:6-kernel:7-" in key or "-expand:1-kernel:3-" in key or not key.startswith("expanded")
        repeats[key] = (3 if "idskip:1" in key else 1) if wide else 0
    by_hand = sum(entries[key] * times for key, times in repeats.items())
    assert table.predict(space, largest) == pytest.approx(by_hand, abs=1e-9)
    narrow = Arch(largest.ks, (4, *largest.e[1:]), largest.d, 224)
    with pytest.raises(KeyError, match="expand:4-kernel:7"):
        table.predict(space, narrow)
    with pytest.raises(KeyError, match="expand:4-kernel:7"):
        table.predict_many(space, [largest, narrow])


def test_own_table_round_trip_and_prediction(small_table, tmp_path):
    space, archs, table = small_table
    table.save(tmp_path / "a.json")
    again = LatencyTable.load(tmp_path / "a.json")
    again.save(tmp_path / "b.json")
    assert again == table
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert len((tmp_path / "a.json").read_text().splitlines()) == len(table.layers) + 10  # one line per layer
    expected = [0.25 + 1.5 * sum(round(layer.macs / 1e7, 6) for layer in space.layers(arch, 10)) for arch in archs]
    np.testing.assert_allclose([again.predict(space, arch) for arch in archs], expected, rtol=1e-12)
    np.testing.assert_allclose(again.predict_many(space, archs), expected, rtol=1e-12)
    np.testing.assert_allclose(again.predict_codes(space, *space.encode(archs)), expected, rtol=1e-12)


def test_factors_multiply_the_layers_of_their_group(small_table, tmp_path):
    space, archs, table = small_table
    heavier = replace(table, factors={"head": 2.0, "mbconv-kernel:7": 1.5})
    extra = {"linear": 1.0, "avgpool": 1.0}
    for arch in archs[:5]:
        more = sum(
            table.layer_ms(layer, arch.r) * (extra.get(layer.kind, 0.0) + 0.5 * (layer.kind == "mbconv" and layer.kernel == 7))
            for layer in space.layers(arch, 10)
        )
        assert heavier.predict(space, arch) == pytest.approx(table.predict(space, arch) + 1.5 * more)
    np.testing.assert_allclose(heavier.predict_many(space, archs[:5]), [heavier.predict(space, arch) for arch in archs[:5]])
    heavier.save(tmp_path / "a.json")
    assert LatencyTable.load(tmp_path / "a.json") == heavier


def test_terms_for_a_search_add_up_to_the_prediction(small_table):
    space, archs, table = small_table
    table = replace(table, factors={"head": 2.0})
    for arch in archs[:20]:
        terms, constant = table.slot_tables(space, arch.r)
        [code], _ = space.encode([arch])
        names = {layer.name for layer in space.layers(arch, 10)}
        slots = zip(space.slots, terms, strict=True)
        total = constant + sum(term[tuple(code[list(slot.genes)])] for slot, term in slots if slot.name in names)
        assert total == pytest.approx(table.predict(space, arch), rel=1e-12)


def test_a_missing_layer_is_named_and_hurts_only_networks_that_use_it(small_table):
    space, archs, table = small_table
    key = next(layer.key for layer in space.layers(space.largest(32), 10) if layer.name == "block_3")
    del table.layers[key]
    uses = [any(layer.key == key for layer in space.layers(arch, 10)) for arch in archs]
    assert any(uses)
    assert not all(uses)
    others = [arch for arch, use in zip(archs, uses, strict=True) if not use]
    assert np.isfinite(table.predict_many(space, others)).all()
    with pytest.raises(KeyError, match=key):
        table.predict(space, space.largest(32))
    with pytest.raises(KeyError, match=key):
        table.predict_many(space, archs)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{}", "correction is missing"),
        ("b.json", "not json", "not a latency table"),
        ("c.json", "[]", "not a latency table"),
        ("d.yaml", "key: value", "not a latency table"),
        ("e.yaml", "a: [", "not a YAML file"),
        ("f.yaml", "Conv-input:8x8x3-output:4x4x8: {count: 1}\nLogits-input:1x1x8-output:10: {mean: 1}", "under mean"),
    ],
)
def test_bad_files_are_value_errors_that_name_them(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        LatencyTable.load(tmp_path / name)
    assert name in str(error.value)


def test_no_file_or_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        LatencyTable.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        LatencyTable.load(tmp_path / "table.json")


def test_device_records_are_compared_without_the_date():
    device = host_device(threads=1)
    assert device["cpu"]
    assert differences(device | {"date": "2020-01-01"}, device) == []
    assert differences(device, device | {"threads": 2}) == ["threads: 1, 2"]
    assert differences(device | {"features": ["avx2"]}, device | {"features": []}) == ["features: ['avx2'], []"]
    older = {key: value for key, value in device.items() if key != "features"}
    assert differences(older, device) == []


DEVICE = DeviceParams(
    kind="host", android=None, source="measure", file=None, file_md5=None, dtype="uint8", resolutions=None, threads=1,
    cores=None, instances=3, max_error=0.02, milliseconds=50, networks=4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "file"}, "file: source is file"),
        ({"source": "file", "file": "a.json"}, "file: source is file"),
        ({"source": "file", "file_md5": "0" * 32}, "file: source is file"),
        ({"file": "a.json", "file_md5": "0" * 32}, "file: source is measure"),
        ({"kind": "android"}, "android: kind is android"),
        ({"android": AndroidParams(binary="benchmark_model", serial=None)}, "android: kind is host"),
        ({"networks": 1}, "networks: 1 is not 0, or 4 and more"),
        ({"networks": 3}, "networks: 3 is not 0, or 4 and more"),
    ],
)
def test_contradictions_of_a_device_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(DEVICE, **changes)
    assert replace(DEVICE, networks=0).networks == 0
    assert replace(DEVICE, source="file", file="a.json", file_md5="0" * 32).file == "a.json"
