import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofa_core.space.arch import Arch
from tests.networks import ALL, archs

FIELDS = {"ks": [3, 5], "e": [3, 6], "d": [2], "r": 128}


@given(st.sampled_from(sorted(ALL)).flatmap(lambda name: archs(ALL[name])))
def test_dict_round_trip(arch):
    assert Arch.from_dict(arch.to_dict()) == arch
    assert set(arch.to_dict()) == ({"ks", "e", "d", "r"} if arch.w is None else {"ks", "e", "d", "r", "w"})


def test_is_a_value():
    arch = Arch.from_dict(FIELDS)
    assert arch == Arch((3, 5), (3, 6), (2,), 128)
    assert len({arch, Arch.from_dict(FIELDS)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        arch.r = 160


def test_takes_lists_and_numpy_numbers_and_keeps_plain_ones():
    arch = Arch(np.array([3, 5]), np.array([0.25, 6.0]), [np.int64(2)], np.int16(128))
    assert arch == Arch((3, 5), (0.25, 6), (2,), 128)
    assert [type(value) for value in (*arch.ks, *arch.e, *arch.d, arch.r)] == [int, int, float, int, int, int]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_sixth_depth_of_proxyless_is_read_as_1(depth):
    fields = {"ks": [3] * 21, "e": [3] * 21, "d": [2, 2, 2, 2, 2, depth], "r": 128}
    assert Arch.from_dict(fields).to_dict()["d"] == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": [3, "5"]}, r"ks\[1\]"),
        ({"ks": [3, 5.5]}, r"ks\[1\]"),
        ({"e": [3, None]}, r"e\[1\]"),
        ({"e": 3}, "e: 3 is not a list"),
        ({"d": [True]}, r"d\[0\]"),
        ({"r": "large"}, r"r\[0\]: 'large'"),
        ({"w": [0.5]}, r"w\[0\]"),
        ({"width": 1}, "unknown width"),
    ],
)
def test_errors_name_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        Arch.from_dict(FIELDS | change)


def test_missing_field_is_named():
    with pytest.raises(ValueError, match="missing d, e"):
        Arch.from_dict({"ks": [3], "r": 128})
