"""Detectors as lists of layers: the published SSD, costs, genes, and what is refused."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ofa_core.space.detector import DetectorSpace, Heads, detector_layers, features
from ofa_core.space.graph import lower_network, range_points
from ofa_core.space.layer_sums import count_costs
from ofa_core.space.layers import Layer
from ofa_core.space.registry import get_space, space_of
from ofa_core.space.stock import stock_layers
from tests.networks import ELASTIC

SSD = Heads(
    kind="ssd",
    taps=("block_13.expand", "final_expand"),
    extra=((256, 512), (128, 256), (128, 256), (64, 128)),
    anchors=(3, 6, 6, 6, 6, 6),
)
"""The challenge winner's, on MobileNetV2 (mit-han-lab/lpcvc, quant-test-dev_mmlab config)."""
SMALL = Heads(kind="ssdlite", taps=("block_6.expand", "final_expand"), extra=((16, 32),), anchors=(3, 6, 6), widths=(16, 24))


def small(heads: Heads = SMALL, **fields: Any) -> DetectorSpace:
    """Detectors on a tiny space."""
    return DetectorSpace(get_space("ofa_small", 0.25, (32, 40)), replace(heads, **fields))


def published() -> list[Layer]:
    return detector_layers(features(stock_layers("mobilenet_v2", 1.0, 300, 1000)), SSD, 90)


def test_the_published_ssd_has_its_maps() -> None:
    """MobileNetV2 SSD at 300 pixels: maps of 19 to 1 pixels, of these channels, with 1,917 boxes."""
    layers = published()
    heads = [layer for layer in layers if layer.name.startswith("boxes_")]
    assert [layer.resolution for layer in heads] == [19, 10, 5, 3, 2, 1]
    assert [layer.inp for layer in heads] == [576, 1280, 512, 256, 256, 128]
    boxes, classes = (next(layer for layer in layers if layer.name == name) for name in ("boxes", "classes"))
    assert sum(channels // 4 * side**2 for channels, side in boxes.maps) == 1917
    assert sum(channels // 90 * side**2 for channels, side in classes.maps) == 1917
    assert boxes.key.startswith("join-19x19x12-10x10x24-")
    assert boxes.key != classes.key
    assert (boxes.macs, boxes.params) == (0, 0)
    predicting = [layer for layer in layers if layer.name.startswith(("boxes_", "classes_"))]
    assert sum(layer.params for layer in predicting) == sum((layer.inp + 1) * layer.out for layer in predicting)


def test_all_maps_of_an_end_share_one_range() -> None:
    shared = range_points(lower_network(published()))
    for end, point in (("boxes", "boxes"), ("classes", "classes.logits")):
        assert {shared[f"{end}_{i}"] for i in range(6)} == {point} == {shared[point]}
    assert shared["classes"] == "classes"


@pytest.mark.parametrize("space", [
    small(), small(widths=()), small(kind="ssd", widths=()),
    DetectorSpace(ELASTIC.space("elastic_width"), Heads(kind="ssd", taps=("block_3.expand", "final_expand"), extra=((8, 16),),
                                                        anchors=(3, 6, 6), widths=(8, 16))),
], ids=["widths", "plain", "ssd", "elastic backbone"])  # fmt: skip
def test_costs_from_tables_are_those_of_the_layers(space: DetectorSpace) -> None:
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(30)]
    found = count_costs(space, archs, 7)
    expected = [space.cost(arch, 7) for arch in archs]
    assert [(cost.macs, cost.params) for cost in expected] == list(zip(*(part.tolist() for part in found), strict=True))
    for arch in archs:
        lower_network(space.layers(arch, 7))  # all shapes fit
        assert [layer.maps for layer in space.layers(arch, 7) if layer.maps] == [
            layer.maps for layer in space.layers(space.largest(arch.r), 7) if layer.maps
        ], "the same boxes at every depth"


def test_the_width_of_the_heads_is_a_gene() -> None:
    space, plain = small(), small(widths=())
    assert space.cardinality() == 2 * plain.cardinality() == 2 * space.backbone.cardinality()
    narrow, wide = space.smallest(), replace(space.smallest(), w=(24,))
    assert (narrow.w, plain.smallest().w) == ((16,), None)
    assert {layer.out for layer in space.layers(wide, 7) if layer.name.startswith("neck_")} == {24}
    assert space.cost(narrow, 7).macs < space.cost(wide, 7).macs
    with pytest.raises(ValueError, match=r"^w\[0\]: 17 is not one of 16, 24$"):
        space.layers(replace(narrow, w=(17,)), 7)


def test_map_sides() -> None:
    assert small().map_sides(32) == (8, 4, 2)
    assert small().map_sides(40) == (10, 5, 3)


def test_a_description_makes_the_space_again() -> None:
    space = small().restrict({"w": [16], "d": [1]})
    again = space_of(space.description())
    assert (again.genes, again.choices, again.outputs) == (space.genes, space.choices, ("boxes", "classes.logits"))
    arch = space.sample(np.random.default_rng(0))
    assert again.layers(arch, 7) == space.layers(arch, 7)


@pytest.mark.parametrize(("heads", "message"), [
    ({"taps": ("block_7.expand", "final_expand")}, "taps: block_7.expand is missing in the shallowest networks of ofa_small"),
    ({"taps": ("feature_mix", "final_expand")}, "taps: feature_mix is not a point of the backbone"),
    ({"taps": ("block_6.nothing", "final_expand")}, "taps: block_6.nothing is not a point of the backbone"),
    ({"taps": ()}, "taps: none"),
    ({"anchors": (3, 6)}, "anchors: [3, 6]: must be 3 numbers from 1, one for each map"),
    ({"widths": (24, 16)}, "widths: [24, 16] are not ascending numbers, 8 or more"),
    ({"kernel": 2}, "kernel: 2 is not odd"),
    ({"kind": "yolo"}, "kind: 'yolo' is not one of ssd, ssdlite"),
])  # fmt: skip
def test_heads_that_do_not_fit_are_named(heads: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        small(**heads)
