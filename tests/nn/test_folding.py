"""Batch norm folded into convolutions: the same outputs, and weights that are copies."""

import pytest
import torch

from ofa_core.convert.folding import fold as fold_for_file
from ofa_core.nn.folding import FoldedNetwork, compute, folded_weights
from ofa_core.nn.network import Network
from ofa_core.space.layers import Layer
from ofa_core.space.ops import Op
from tests.networks import ALL, images, random_net, relative_error
from tests.space.test_ops import graph


@pytest.mark.parametrize("name", sorted(ALL))
def test_sub_networks_give_the_same_logits(name: str) -> None:
    net, space = random_net(ALL[name]), ALL[name]
    for arch in (space.smallest(), space.largest()):
        net.set_active(arch)
        x = images(arch.r, batch=4)
        with torch.no_grad():
            assert relative_error(FoldedNetwork(net)(x), net(x)) < 1e-4
            assert relative_error(FoldedNetwork(net.extract(arch))(x), net(x)) < 1e-4


def test_named_outputs() -> None:
    torch.manual_seed(0)
    network = Network(graph(), outputs=("head", "inner")).eval()
    x = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        expected, found = network(x), FoldedNetwork(network)(x)
    assert found.keys() == expected.keys()
    for point, y in expected.items():
        torch.testing.assert_close(found[point], y, rtol=1e-4, atol=1e-5)


def test_weights_are_those_of_the_file_and_do_not_follow_the_network() -> None:
    net = random_net(ALL["ofa_small_se"])
    network = net.extract(net.space.smallest())
    folded, x = FoldedNetwork(network), images(net.space.smallest().r, batch=2)
    with torch.no_grad():
        before = folded(x).clone()
        written = fold_for_file(network)
        assert written.keys() == folded_weights(network).keys()
        weight, bias = folded.weights["block_1.project"]
        assert (written["block_1.project"].kernel == weight.permute(2, 3, 1, 0).numpy()).all()
        assert (written["block_1.project"].bias == bias.numpy()).all()  # type: ignore[union-attr]
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(folded(x), before)


def test_a_depthwise_bias_has_its_gradient() -> None:
    layer = Layer(name="x", kind="mbconv", inp=4, mid=4, out=4, kernel=5, stride=1, resolution=8, bn_eps=1e-5)
    op = Op(kind="depthwise", point="x.depthwise", inputs=("x",), weights="x.depthwise", inp=4, out=4, resolution=8, kernel=5)
    weight, bias = torch.randn(4, 1, layer.kernel, layer.kernel, requires_grad=True), torch.randn(4, requires_grad=True)
    x = torch.randn(2, 4, 8, 8)
    y = compute(op, [x], weight, bias)
    y.square().sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(compute(op, [x], weight, bias), y)
        torch.testing.assert_close(bias.grad, 2 * y.sum(dim=(0, 2, 3)))
