"""Latency tables of whole detectors: a file for every layer, sums, the correction, and the table's file."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa_core.convert.operators import check_operators, operators
from ofa_core.convert.params import Dtype
from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.timed_files import layer_file, network_file
from ofa_core.convert.tracing import trace
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.build import build_table, random_archs
from ofa_core.runtime.host import HostDevice
from ofa_core.runtime.tflite import make_interpreter
from ofa_core.space.detector import DetectorSpace
from ofa_core.space.graph import ends, lower_network
from ofa_core.space.layer_sums import distinct_layers
from ofa_core.space.registry import space_of
from tests.space.test_detector import published, small

CLASSES = 5
SIZES = (32,)
"""Input sizes of the table, in pixels."""
SPACES = {"ssdlite": small(), "ssd": small(kind="ssd", widths=())}


def test_ends() -> None:
    assert ends(published()) == ("boxes", "classes")
    backbone = SPACES["ssd"].backbone
    assert ends(backbone.layers(backbone.smallest(), 10)) == ("classifier",)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", SPACES)
def test_a_layer_alone_has_the_operators_it_has_in_the_detector(name: str, dtype: Dtype) -> None:
    space = SPACES[name]
    layers = space.layers(space.largest(), CLASSES)
    content, ops = network_file(space, space.largest(), CLASSES, dtype), lower_network(layers)
    check_operators("whole", content, ops, conversions=3 if dtype == "uint8" else 0)  # one image in, two arrays out
    found = [(operator.layer, operator.kind) for operator in trace(read_model(content), ops)]
    for layer in layers:
        if layer.kind in ("depthwise", "join") or layer.bias:
            alone = layer_file(layer, dtype)
            # The name of a padding is that of the layer before it.
            inside = Counter(kind for owner, kind in found if owner == layer.name and kind not in ("QUANTIZE", "PAD"))
            assert Counter({kind: n for kind, n in operators(alone).items() if kind != "PAD"}) == inside, layer.name
            interpreter = make_interpreter(alone)
            inputs = interpreter.get_input_details()
            assert sorted(tuple(details["shape"]) for details in inputs) == sorted(
                (1, side, side, channels) for channels, side in layer.shapes
            )
            assert {details["dtype"] for details in inputs} == {np.int8 if dtype == "uint8" else np.float32}
            interpreter.invoke()


def test_the_map_of_an_end_alone_and_in_the_detector() -> None:
    """Integer maps and their join have one scale; a sigmoid has its own."""
    [join] = [layer for layer in SPACES["ssd"].layers(SPACES["ssd"].largest(), CLASSES) if layer.name == "classes"]
    interpreter = make_interpreter(layer_file(join, "uint8"))
    assert len({details["quantization"] for details in interpreter.get_input_details()}) == 1
    [output] = interpreter.get_output_details()
    assert output["quantization"] == (1 / 256, -128)
    assert output["shape"].tolist() == [1, sum(c // CLASSES * side**2 for c, side in join.maps), CLASSES]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    """A table of few detectors, each layer timed for a moment."""
    space = part()
    table, report = build_table(
        HostDevice(seconds=0.002), space, tmp_path_factory.mktemp("table"), num_classes=CLASSES, resolutions=SIZES, instances=1,
        max_error=1, networks=4,
    )  # fmt: skip
    assert report["networks_checked"] == 2
    assert all(0 < ms < 50 for ms in report["measured_ms"] + report["predicted_ms"])
    return table


def part() -> DetectorSpace:
    """The detectors of the table."""
    return SPACES["ssdlite"].restrict({"ks": [3], "e": [3], "d": [1, 2]})


def test_every_layer_of_every_detector_has_a_time(built: LatencyTable) -> None:
    space = part()
    assert set(built.layers) == {layer.key for layer in distinct_layers(space, SIZES, CLASSES)}
    archs = random_archs(space, SIZES, 40, seed=1)
    assert {arch.w for arch in archs} == {(16,), (24,)}
    assert {layer.key for arch in archs for layer in space.layers(arch, CLASSES)} == set(built.layers)
    plain = replace(built, scale=1.0, overhead_ms=0.5, factors={})
    for table in (built, plain):
        predicted = table.predict_many(space, archs)
        assert predicted == pytest.approx([table.predict(space, arch) for arch in archs])
        assert predicted == pytest.approx(table.predict_codes(space, *space.encode(archs)))
    sums = [sum(built.layers[layer.key].median_ms for layer in space.layers(arch, CLASSES)) for arch in archs]
    assert plain.predict_many(space, archs) == pytest.approx(0.5 + np.array(sums))


def test_a_table_and_its_space_from_files(built: LatencyTable, tmp_path: Path) -> None:
    built.save(tmp_path / "table.json")
    again, space = LatencyTable.load(tmp_path / "table.json"), space_of(part().description())
    assert again == built
    archs = random_archs(space, SIZES, 8, seed=0)
    assert again.predict_many(space, archs).tolist() == built.predict_many(part(), archs).tolist()
    with pytest.raises(KeyError, match=r"conv-8x8x16-8x8x21-.*-bias: not in the latency table"):
        replace(again, num_classes=7).predict(space, space.smallest())
