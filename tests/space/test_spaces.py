from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofa_core.space.arch import Arch
from ofa_core.space.layers import Layer, make_divisible
from ofa_core.space.mobile import Head
from ofa_core.space.registry import SPACES, get_space
from tests.networks import ALL, ELASTIC, archs

any_arch = st.sampled_from(sorted(ALL)).flatmap(lambda name: st.tuples(st.just(ALL[name]), archs(ALL[name])))


def test_cardinality_is_exact():
    assert get_space("ofa_mbv3", 1.2).cardinality() == 7371**5
    assert get_space("ofa_proxyless").cardinality() == 7371**5 * 9  # 1.96e20; the sixth stage has one block
    stages = [sum(3**d for d in range(base, base + 3)) for base in (2, 2, 4, 2)]
    assert get_space("ofa_resnet50").cardinality() == 2 * 3**6 * stages[0] * stages[1] * stages[2] * stages[3]
    assert get_space("ofa_resnet50").cardinality() == pytest.approx(2.46e12, rel=2e-3)
    assert get_space("ofa_small_k7").cardinality() == 7371**3
    assert get_space("ofa_small").cardinality() == (3 + 3**2) * (6 + 6**2 + 6**3) ** 2


@pytest.mark.parametrize("name", ["wide", "head"])
def test_cardinality_equals_a_count_of_all_networks(name):
    """Enumerates every code of small tables with elastic widths, and counts distinct lists of layers."""
    stage = replace(ELASTIC.stages[1], widths=(16, 24), depths=(1, 2))
    stages = (stage, replace(stage, kernel_sizes=(3,), expand_ratios=(3,), widths=(16, 32))) if name == "wide" else (stage,)
    head = ELASTIC.head if name == "wide" else Head(expand_widths=None, mix_widths=(16, 24), act="relu6")
    space = replace(ELASTIC, stages=stages, head=head).space(name, resolutions=(16,))
    part = space.restrict({"ks": [3], "d": [2]})
    for counted in (space, part):
        codes = np.array(list(product(*(range(len(gene.choices)) for gene in counted.genes))))
        archs = counted.decode(codes, np.full(len(codes), 16))
        networks = {tuple((layer.name, layer) for layer in counted.layers(arch)) for arch in archs}
        assert counted.cardinality() == len(networks)


def test_resolutions():
    assert get_space("ofa_mbv3").resolutions == tuple(range(128, 225, 4))
    space = get_space("ofa_mbv3", resolutions=(160, 192))
    assert {space.sample(np.random.default_rng(seed)).r for seed in range(20)} == {160, 192}
    for resolution in (236, 260):  # resolutions of released networks
        space.validate(space.largest(resolution))


@given(any_arch)
def test_encode_decode_round_trip(pair):
    space, arch = pair
    codes, resolutions = space.encode([arch, space.largest()])
    assert codes.shape == (2, len(space.genes))
    assert space.decode(codes, resolutions) == [arch, space.largest()]


@given(any_arch)
def test_layers_fit_together(pair):
    space, arch = pair
    layers = space.layers(arch, num_classes=7)
    assert (layers[0].inp, layers[0].resolution, layers[-1].out) == (3, arch.r, 7)
    for before, after in pairwise(layers):
        assert (before.out, before.out_resolution) == (after.inp, after.resolution)
        if after.residual:
            assert (after.stride, after.inp) == (1, after.out)


@given(any_arch)
def test_depth_keeps_the_first_blocks_and_slots_say_which(pair):
    space, arch = pair
    code = space.encode([arch])[0][0]
    expected = [
        slot.name
        for slot in space.slots
        if slot.depth is None or space.genes[slot.depth[0]].choices[code[slot.depth[0]]] >= slot.depth[1]
    ]
    assert [layer.name for layer in space.layers(arch)] == expected


def test_sampling_is_seeded_and_covers_every_choice():
    space = get_space("ofa_mbv3")
    draws = [space.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert draws[3] == space.sample(np.random.default_rng(3))
    codes, _ = space.encode(draws)
    assert all(len(np.unique(column)) == 3 for column in codes.T)
    assert len({arch.r for arch in draws}) == 25


def test_published_layout_of_mbv3():
    space = get_space("ofa_mbv3")
    layers = {layer.name: layer for layer in space.layers(space.largest(224))}
    assert layers["block_0"] == Layer(
        name="", kind="mbconv", inp=16, mid=16, out=16, kernel=3, act="relu", residual=True, resolution=112, bn_eps=1e-5
    )
    assert layers["block_13"] == Layer(  # first block of the fourth stage: stride 1, but 80 to 112 channels
        name="", kind="mbconv", inp=80, mid=480, out=112, kernel=7, act="h_swish", se=120, resolution=14, bn_eps=1e-5
    )
    assert layers["feature_mix"] == Layer(name="", kind="linear", inp=960, out=1280, act="h_swish", resolution=1)


@pytest.mark.parametrize(("value", "expected"), [(1, 8), (11, 16), (12, 16), (19.2, 24), (40 * 1.2, 48), (18, 24), (17, 16)])
def test_make_divisible(value, expected):
    assert make_divisible(value) == expected


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ofa_mbv3", {"ks": (4,) * 20}, r"^ks\[0\]: 4 is not one of 3, 5, 7"),
        ("ofa_mbv3", {"ks": None}, "^ks: missing"),
        ("ofa_mbv3", {"ks": (3,) * 19}, "^ks: 19 entries, space ofa_mbv3 has 20"),
        ("ofa_mbv3", {"e": (3,) * 19 + (5,)}, r"^e\[19\]: 5"),
        ("ofa_mbv3", {"d": (2, 2, 2, 2, 5)}, r"^d\[4\]: 5"),
        ("ofa_mbv3", {"r": 130}, "^r: 130"),
        ("ofa_mbv3", {"r": 4}, "^r: 4"),
        ("ofa_mbv3", {"w": (0,)}, "^w: not a choice"),
        ("ofa_resnet50", {"ks": (3,) * 18}, "^ks: not a choice"),
        ("ofa_resnet50", {"d": (1, 0, 0, 0, 0)}, r"^d\[0\]: 1"),
        ("ofa_resnet50", {"w": (0, 0, 0, 0, 0, 3)}, r"^w\[5\]: 3"),
        ("ofa_resnet50", {"e": (0.3,) * 18}, r"^e\[0\]: 0.3"),
    ],
)
def test_validation_names_the_field(name, change, message):
    space = get_space(name)
    arch = replace(space.smallest(), **change)
    for check in (space.validate, space.layers, space.cost):
        with pytest.raises(ValueError, match=message):
            check(arch)


def test_encoding_names_a_foreign_value():
    space = get_space("ofa_mbv3")
    arch = space.smallest()
    with pytest.raises(ValueError, match=r"^e\[2\]: 5 is not one of 3, 4, 6"):
        space.encode([arch, Arch(arch.ks, (3, 3, 5) + (3,) * 17, arch.d, arch.r)])
    with pytest.raises(ValueError, match=r"^ks: 21 entries, space ofa_mbv3 has 20"):
        space.encode([arch, get_space("ofa_proxyless").smallest()])
    with pytest.raises(ValueError, match=r"^w: 6 entries, space ofa_mbv3 has 0"):
        space.encode([Arch(arch.ks, arch.e, arch.d, arch.r, (0,) * 6)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ofa_mbv4",), "^name: 'ofa_mbv4'"),
        (("ofa_mbv3", 0.0), "^width_mult: 0.0"),
        (("ofa_resnet50", 1.0), "^width_mult: ofa_resnet50"),
        (("ofa_mbv3", None, (130,)), "^resolutions"),
        (("ofa_mbv3", None, (160, 128)), "^resolutions"),
        (("ofa_mbv3", None, ()), "^resolutions"),
    ],
)
def test_get_space_names_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_space(*arguments)


@pytest.mark.parametrize("name", SPACES)
def test_smallest_and_largest_are_the_ends(name):
    space = get_space(name)
    low, high = space.cost(space.smallest()), space.cost(space.largest())
    assert low.macs < high.macs
    assert low.params < high.params
    assert (space.smallest().r, space.largest().r) == (space.resolutions[0], space.resolutions[-1])
