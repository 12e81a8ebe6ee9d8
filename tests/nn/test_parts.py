"""The elastic modules compute the operations of their layers, with either padding, and graphs of layers run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ofa_core.nn.network import Network
from ofa_core.nn.recalibration import recalibrate
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.observe import observe
from ofa_core.space.layers import Layer
from tests.networks import ALL, archs, examples, relative_error, shared_net
from tests.space.test_ops import BLOCK, graph


@pytest.mark.parametrize("name", ALL)
def test_modules_compute_what_operations_say(name: str) -> None:
    """Without rounding, `FakeQuantized` only interprets the operations."""
    space, net = ALL[name], shared_net(name)

    @given(archs(space))
    def check(arch) -> None:  # type: ignore[no-untyped-def]
        network = net.extract(arch).eval()
        interpreted = FakeQuantized(network)
        interpreted.weights = False
        x = torch.randn(2, 3, arch.r, arch.r, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert relative_error(interpreted.eval()(x), network(x)) < 1e-4

    from hypothesis import settings

    settings(max_examples=examples(name, 8))(check)()


def fresh(*layers: Layer, outputs: tuple[str, ...] = ()) -> Network:
    torch.manual_seed(0)
    network = Network(layers, outputs=outputs)
    x = torch.randn(8, layers[0].inp, layers[0].resolution, layers[0].resolution)
    recalibrate(network, [x[:5], x[5:]])
    return network


@given(st.sampled_from([3, 5]), st.sampled_from([1, 2]), st.sampled_from([7, 8, 12]), st.booleans())
def test_same_padding_is_tensorflows(kernel: int, stride: int, size: int, depthwise: bool) -> None:
    """Against explicit padding as in TensorFlow: an odd pixel goes at the end."""
    kind = {"kind": "mbconv", "mid": 8, "out": 8} if depthwise else {"kind": "conv", "out": 8}
    layer = Layer(name="x", inp=8, kernel=kernel, stride=stride, resolution=size, bn_eps=1e-5, padding="same", **kind)  # type: ignore[arg-type]
    network = fresh(layer)
    x = torch.randn(2, 8, size, size)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    part = network.parts["x"]
    windowed = part.depthwise if depthwise else part.conv
    y = windowed.bn(F.conv2d(padded, windowed.weight, stride=stride, groups=8 if depthwise else 1))
    expected = part.project(y, 8) if depthwise else y
    np.testing.assert_allclose(network(x).detach(), expected.detach(), atol=1e-5)
    assert network(x).shape[-1] == layer.out_resolution


def test_same_padding_of_a_maxpool_adds_nothing() -> None:
    layer = Layer(name="x", kind="maxpool", inp=2, out=2, kernel=3, stride=2, resolution=8, padding="same")
    x = -torch.rand(1, 2, 8, 8) - 1
    expected = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-9.0), 3, 2)
    assert torch.equal(Network([layer])(x), expected)


def test_gradients_pass_through_either_padding() -> None:
    for padding in ("same", "symmetric"):
        layer = replace(BLOCK, stride=2, residual=False, padding=padding)  # type: ignore[arg-type]
        network = fresh(layer).train()
        network(torch.randn(2, 8, 10, 10)).square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_outputs_at_a_layer_and_inside_one() -> None:
    network = fresh(*graph(), outputs=("head", "inner"))
    x = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        found = network(x)
        stem = network.parts["stem"](x, network.active[0])
        expand = F.relu6(network.parts["block_1"].expand(stem, 16))
        np.testing.assert_allclose(found["inner"], network.parts["inner"](expand, network.active[3]), atol=1e-6)
    assert {point: tuple(y.shape) for point, y in found.items()} == {"head": (2, 4, 10, 10), "inner": (2, 4, 10, 10)}


def test_recalibration_of_a_graph_does_not_depend_on_batches() -> None:
    x = torch.randn(8, 3, 20, 20)
    torch.manual_seed(0)
    first, second = (Network(graph(), outputs=("head", "inner")) for _ in range(2))
    second.load_state_dict(first.state_dict())
    recalibrate(first, [x])
    recalibrate(second, [x[:3], x[3:4], x[4:]])
    for name, tensor in first.state_dict().items():
        np.testing.assert_allclose(tensor, second.state_dict()[name], atol=1e-5, err_msg=name)
    assert first.parts["inner"].conv.bn.running_var.std() > 0


def test_a_point_that_a_layer_does_not_give_is_named() -> None:
    layers = graph()
    layers[3] = replace(layers[3], source="block_1.depthwise.sum")
    with pytest.raises(ValueError, match=r"^block_1.depthwise.sum: not a point that layer block_1 gives$"):
        Network(layers)(torch.zeros(1, 3, 20, 20))


def test_fake_quantisation_of_a_graph_rounds_every_point_once() -> None:
    network = fresh(*graph(), outputs=("head", "inner"))
    x = torch.rand(4, 3, 20, 20) * 2 - 1
    ranges = observe(network, [x])
    assert set(ranges) == {
        "image",
        "stem",
        "block_1.expand",
        "block_1.depthwise",
        "block_1.project",
        "block_1",
        "head",
        "inner",
    }
    rounded, seen = FakeQuantized(network, ranges).eval(), []
    rounded.visitor = lambda point, _: seen.append(point)
    with torch.no_grad():
        found, exact = rounded(x), network(x)
    assert sorted(seen) == sorted(set(ranges) - {"image"})
    for point in ("head", "inner"):
        assert found[point].unique().numel() <= 256
        assert relative_error(found[point], exact[point]) < 0.2
    kept = FakeQuantized(network, ranges, keep_float=("block_1",)).eval()
    with torch.no_grad():
        assert not torch.equal(kept(x)["inner"], found["inner"])
