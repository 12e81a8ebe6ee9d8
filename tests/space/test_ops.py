"""What layers are made of: operations, points, padding, and lists of layers as graphs."""

from dataclasses import replace

import pytest

from ofa_core.space.graph import lower_network, plan, range_points, sources
from ofa_core.space.layers import Layer, lower
from ofa_core.space.ops import pads, same_padding

BLOCK = Layer(name="block_1", kind="mbconv", inp=8, mid=16, out=8, kernel=5, act="h_swish", se=8, residual=True, resolution=10,
              bn_eps=1e-5)  # fmt: skip


def test_a_block_is_spelled_out() -> None:
    ops = lower(BLOCK, source="block_0")
    assert [(op.kind, op.point) for op in ops] == [
        ("conv", "block_1.expand.sum"),
        ("shift", "block_1.expand.gate"),
        ("divide", "block_1.expand.sixth"),
        ("mul", "block_1.expand"),
        ("depthwise", "block_1.depthwise.sum"),
        ("shift", "block_1.depthwise.gate"),
        ("divide", "block_1.depthwise.sixth"),
        ("mul", "block_1.depthwise"),
        ("mean", "block_1.se.pool"),
        ("conv", "block_1.se.reduce"),
        ("conv", "block_1.se.expand"),
        ("divide", "block_1.se.gate"),
        ("mul", "block_1.se"),
        ("conv", "block_1.project"),
        ("add", "block_1"),
    ]
    assert ops[0].inputs == ("block_0",)
    assert ops[-1].inputs == ("block_0", "block_1.project")
    assert [op.weights for op in ops if op.weights] == [
        f"block_1.{part}" for part in ("expand", "depthwise", "se.reduce", "se.expand", "project")
    ]
    fused = [op.point for op in lower(BLOCK, "fused")]
    assert "block_1.expand" in fused
    assert not [point for point in fused if point.endswith((".gate", ".sixth")) and ".se." not in point]


def test_every_point_is_computed_once_and_before_it_is_read() -> None:
    bottleneck = Layer(name="block_0", kind="bottleneck", inp=16, mid=8, out=32, kernel=3, stride=2, act="relu", resolution=9,
                       bn_eps=1e-5)  # fmt: skip
    for layer in (BLOCK, bottleneck, replace(bottleneck, stride=1, residual=True, out=16)):
        known = {"image"}
        for op in lower(layer):
            assert set(op.inputs) <= known
            assert op.point not in known
            known.add(op.point)
        assert op.point == layer.name
        assert (op.out, op.out_resolution) == (layer.out, layer.out_resolution)


def test_macs_and_params_of_a_bottleneck_by_hand() -> None:
    layer = Layer(name="b", kind="bottleneck", inp=16, mid=8, out=32, kernel=3, stride=2, act="relu", resolution=9, bn_eps=1e-5)
    assert layer.out_resolution == 5
    assert layer.macs == 16 * 8 * 81 + 8 * 8 * 9 * 25 + 8 * 32 * 25 + 16 * 32 * 25
    assert layer.params == 16 * 8 + 2 * 8 + 8 * 8 * 9 + 2 * 8 + 8 * 32 + 2 * 32 + 16 * 32 + 2 * 32


def test_padding() -> None:
    # tf.nn's rule: of 3x3 windows with stride 2, an even map gets one row at its end, an odd one a row on either side.
    assert same_padding(10, 3, 2) == (0, 1)
    assert same_padding(9, 3, 2) == (1, 1)
    assert same_padding(9, 5, 2) == (2, 2)
    assert same_padding(10, 5, 2) == (1, 2)
    assert same_padding(10, 7, 1) == (3, 3) == pads("symmetric", 10, 7, 1)
    assert same_padding(4, 1, 2) == (0, 0)


def test_padding_is_in_the_key_where_it_changes_the_work() -> None:
    strided = replace(BLOCK, stride=2, residual=False)
    assert replace(strided, padding="same").key == strided.key.replace("stride:2", "stride:2-same")
    assert replace(strided, padding="same", resolution=9).key == replace(strided, resolution=9).key
    assert replace(BLOCK, padding="same").key == BLOCK.key
    assert replace(strided, padding="same").macs == strided.macs


def graph() -> list[Layer]:
    """A stem, a block whose expansion is read later, and two heads on different points."""
    return [
        Layer(name="stem", kind="conv", inp=3, out=8, kernel=3, stride=2, act="relu6", resolution=20, bn_eps=1e-5),
        replace(BLOCK, act="relu6", se=0),
        Layer(name="head", kind="conv", inp=8, out=4, act="relu6", resolution=10, bn_eps=1e-5),
        Layer(name="inner", kind="conv", inp=16, out=4, act="none", resolution=10, bn_eps=1e-5, source="block_1.expand"),
    ]


def test_sources_and_plan() -> None:
    layers = graph()
    assert sources(layers) == [("image",), ("stem",), ("block_1",), ("block_1.expand",)]
    steps = plan(layers, outputs=("head", "inner"))
    assert steps[1].taps == ("block_1.expand",)
    assert [step.unused for step in steps] == [("image",), ("stem",), ("block_1",), ("block_1.expand",)]
    assert [op.inputs for op in lower_network(layers) if op.point == "inner"] == [("block_1.expand",)]


def test_bad_graphs_are_named() -> None:
    layers = graph()
    layers[2] = replace(layers[2], source="inner")
    with pytest.raises(ValueError, match=r"^head: source: inner is not computed before it$"):
        plan(layers)
    with pytest.raises(ValueError, match=r"^head: source: inner is not computed before it$"):
        lower_network(layers)
    with pytest.raises(ValueError, match=r"^outputs: nothing is not a point of the network$"):
        plan(graph(), outputs=("nothing",))
    wrong = [*graph()[:3], replace(graph()[3], source="block_1")]
    with pytest.raises(ValueError, match=r"^inner: does not take the output of block_1$"):
        lower_network(wrong)
    with pytest.raises(ValueError, match=r"^network: no layers$"):
        lower_network([])


def test_pools_have_the_range_of_what_they_read() -> None:
    pool = Layer(name="pool", kind="maxpool", inp=8, out=8, kernel=3, stride=2, resolution=10)
    points = range_points(lower_network([*graph()[:1], pool]))
    assert points == {"image": "image", "stem": "stem", "pool": "stem"}
