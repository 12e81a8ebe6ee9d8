import csv
import json
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ofa_core.nn import mbconv
from ofa_core.space.arch import Arch
from ofa_core.space.layer_sums import LayerSum, count_costs
from ofa_core.space.registry import SPACES, get_space
from tests.conftest import shared_data
from tests.networks import ALL, CLASSES, images, shared_net


def test_every_measured_architecture_is_exact():
    with shared_data("ofa/ofa_mbv3_w1.0_imagenet_top1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2223
    archs = [Arch(*(list(map(int, row[field].split())) for field in ("ks", "e", "d")), int(row["r"])) for row in rows]
    costs = count_costs(get_space("ofa_mbv3"), archs)
    assert (costs.macs == np.array([int(row["macs"]) for row in rows])).all()
    assert (costs.params == np.array([int(row["params"]) for row in rows])).all()


def test_specialized_networks_are_exact():
    for net in json.loads(shared_data("ofa/specialized_nets.json").read_text()):
        cost = get_space(net["space"], net["width_mult"]).cost(Arch.from_dict(net["arch"]))
        assert (cost.macs, cost.params) == (net["macs"], net["params"]), net["name"]
        assert cost.macs / 1e6 == pytest.approx(net["published"]["macs_M"], abs=0.6)


@pytest.mark.parametrize("kind", ["mbv3_w025", "proxyless_w025", "resnet50"])
def test_parity_architectures_are_exact(kind):
    data = json.loads(shared_data(f"parity/{kind}/archs.json").read_text())
    space = get_space(f"ofa_{data['kind']}", data.get("width_mult"))
    by_resolution = data.get("macs_by_resolution", {str(data["resolution"]): data["macs"]})
    for resolution, macs in by_resolution.items():
        archs = [Arch.from_dict(fields | {"r": int(resolution)}) for fields in data["archs"]]
        costs = count_costs(space, archs, data["n_classes"])
        assert (costs.macs.tolist(), costs.params.tolist()) == (macs, data["params"])


@pytest.mark.parametrize(
    ("width_mult", "end", "resolution", "macs", "params"),
    [
        (1.0, "largest", 224, 566.17, 7_664_760),
        (1.0, "smallest", 224, 121.28, 3_410_792),
        (1.0, "smallest", 128, 41.48, 3_410_792),
        (1.2, "largest", 224, 843.10, 10_701_632),
    ],
)
def test_known_ends_of_mbv3(width_mult, end, resolution, macs, params):
    space = get_space("ofa_mbv3", width_mult)
    cost = space.cost((space.largest if end == "largest" else space.smallest)(resolution))
    assert (round(cost.macs / 1e6, 2), cost.params) == (macs, params)


@pytest.mark.parametrize("name", SPACES)
def test_counted_at_once_equals_one_by_one(name):
    space, rng = get_space(name), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(100)]
    costs = count_costs(space, archs, num_classes=10)
    assert costs.macs.dtype == costs.params.dtype == np.int64
    assert [space.cost(arch, 10) for arch in archs] == list(zip(costs.macs, costs.params, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(ALL)), st.integers(0, 2**32 - 1))
def test_cost_is_that_of_the_torch_network(name, seed):
    """Compares with a torch network: the convolutions and linear layers that run, and the parameters that exist."""
    space = ALL[name]
    arch = space.sample(np.random.default_rng(seed))
    network, cost = shared_net(name).extract(arch), space.cost(arch, CLASSES)

    # Our depthwise convolution skips taps that only see padding. The published counts include them.
    def plain(x: torch.Tensor, weight: torch.Tensor, stride: int, padding: str) -> torch.Tensor:
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=x.shape[1])

    with mock.patch.object(mbconv, "depthwise_conv", plain), FlopCounterMode(display=False) as counter:
        network(images(arch.r, batch=1))
    assert counter.get_total_flops() == 2 * cost.macs
    assert sum(parameter.numel() for parameter in network.parameters()) == cost.params


def test_a_hundred_thousand_architectures():
    space, rng = get_space("ofa_mbv3"), np.random.default_rng(0)
    codes = np.stack([rng.integers(len(gene.choices), size=1000) for gene in space.genes], axis=1)
    archs = space.decode(codes, rng.choice(space.resolutions, 1000)) * 100
    costs = count_costs(space, archs)
    assert costs.macs.shape == costs.params.shape == (100_000,)
    assert (costs.macs.reshape(100, 1000) == costs.macs[:1000]).all()
    assert space.cost(archs[17]).macs == costs.macs[17]


def test_no_architectures_cost_nothing():
    assert count_costs(get_space("ofa_resnet50"), []).macs.shape == (0,)


def test_foreign_architectures_are_refused():
    with pytest.raises(ValueError, match=r"^ks"):
        count_costs(get_space("ofa_mbv3"), [get_space("ofa_proxyless").largest()])
    with pytest.raises(ValueError, match=r"^r"):
        count_costs(get_space("ofa_mbv3"), [get_space("ofa_mbv3").largest(130)])


def test_errors_of_the_value_pass_through():
    def value(layer):
        raise KeyError(layer.key)

    space = get_space("ofa_small_k7")
    with pytest.raises(KeyError, match="conv-28x28x3"):
        LayerSum(space, value)([space.largest()])
