"""Fake quantisation in torch: its grids, gradients and ranges. Switched off, it equals the network."""

import numpy as np
import pytest
import torch

from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.grid import grid, quantize_activation, quantize_weight, weight_scales
from ofa_core.quantization.observe import fake_quantized, observe
from tests.convert.test_network import NETWORKS, make_network, normalised, random_images


def test_grids_hold_zero():
    low, high = torch.tensor([0.0, -1.0, 0.5, -3.0, 0.0, -1e-3]), torch.tensor([6.0, 2.0, 4.0, -1.0, 0.0, 5.0])
    found = grid(low, high)
    np.testing.assert_allclose(found.scale, [6 / 255, 3 / 255, 4 / 255, 3 / 255, 1, 5.001 / 255], rtol=1e-6)
    assert found.zero_point.tolist() == [-128, -43, -128, 127, -128, -128]
    np.testing.assert_allclose(found.low, (-128 - found.zero_point) * found.scale, rtol=1e-6)
    np.testing.assert_allclose(found.high, (127 - found.zero_point) * found.scale, rtol=1e-6)
    x = quantize_activation(torch.tensor([-9.0, -0.004, 0.0, 0.0061, 9.0]), low[1], high[1])
    np.testing.assert_allclose(x, np.array([-85, 0, 0, 1, 170]) * 3 / 255, rtol=1e-6)


def test_gradients_pass_straight_through_where_nothing_is_clipped():
    x = torch.tensor([-2.0, -0.3, 0.7, 3.0], requires_grad=True)
    (quantize_activation(x, torch.tensor(-1.0), torch.tensor(2.0)) * torch.tensor([1.0, 2, 3, 4])).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 0]
    weight = torch.randn(3, 2, 5, 5, requires_grad=True)
    quantize_weight(weight).sum().backward()
    assert (weight.grad == 1).all()


def test_weights_have_a_scale_for_each_channel():
    weight = torch.tensor([[[[1.0, -0.5]]], [[[0.1, 0.02]]], [[[0.0, 0.0]]]])
    np.testing.assert_allclose(weight_scales(weight), [1 / 127, 0.1 / 127, 5e-7 / 127], rtol=1e-6)
    np.testing.assert_allclose(quantize_weight(weight), [[[[1, -64 / 127]]], [[[0.1, 0.1 * 25 / 127]]], [[[0, 0]]]], rtol=1e-6)


def test_learned_bounds_get_the_gradients_of_learned_step_sizes():
    generator = torch.Generator().manual_seed(0)
    x, pull = torch.randn(1000, generator=generator), torch.randn(1000, generator=generator)
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(1.55, requires_grad=True)
    (quantize_activation(x, low, high) * pull).sum().backward()
    # With the integers of every value fixed, y = (q - zero_point) * scale; clipped values equal the bounds.
    found = grid(low, high)
    scale, steps = found.scale.item(), (x / found.scale).round()
    inside = (steps >= -100) & (steps <= 155)
    by_scale = ((steps - x / scale) * pull)[inside].sum() / 255
    assert high.grad == pytest.approx(float(pull[steps > 155].sum() + by_scale), abs=2e-3)
    assert low.grad == pytest.approx(float(pull[steps < -100].sum() - by_scale), abs=2e-3)


@pytest.mark.parametrize(("name", "width_mult", "resolution"), NETWORKS)
def test_it_is_the_network_itself_when_switched_off(name, width_mult, resolution):
    network, x = make_network(name, width_mult, resolution), normalised(random_images(8, resolution))
    quantized = fake_quantized(network, [x])
    with torch.no_grad():
        rounded = quantized(x)
        quantized.weights = quantized.activations = False
        np.testing.assert_allclose(quantized(x), network(x), rtol=0, atol=1e-4)
    assert (rounded - network(x)).abs().max() > 1e-3
    # All weights of the network can be trained.
    quantized.weights = quantized.activations = True
    quantized.train()(x).logsumexp(1).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    untouched = make_network(name, width_mult, resolution)
    assert all(a.equal(b) for a, b in zip(network.buffers(), untouched.buffers(), strict=True))


def test_methods_of_calibration():
    network = make_network("ofa_small_k7", None, 20)
    batches = [normalised(random_images(8, 20, seed)) for seed in range(3)]
    found = {method: observe(network, batches, method) for method in ("minmax", "moving_average", "percentile", "mse")}
    assert len({tuple(ranges) for ranges in found.values()}) == 1  # the same points
    one = observe(network, [torch.cat(batches)])
    for name, (low, high) in found["minmax"].items():
        np.testing.assert_allclose((low, high), one[name], rtol=1e-4, atol=1e-5)  # however batches are cut
        for method in ("moving_average", "percentile", "mse"):
            inner = found[method][name]
            assert low - 1e-6 <= inner[0] <= inner[1] <= high + 1e-6
    narrower = [name for name, (low, high) in found["mse"].items() if high - low < 0.99 * np.ptp(found["minmax"][name])]
    assert len(narrower) > 3
    with pytest.raises(ValueError, match=r"^calibration images: none$"):
        observe(network, [])
    with pytest.raises(ValueError, match=r"^calibration: 'maximal' is not one of minmax, moving_average, percentile, mse$"):
        observe(network, batches, "maximal")
    network.parts["block_1"].project.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"^block_1.project: an activation is not finite on the calibration images$"):
        observe(network, batches)


def test_ranges_are_checked():
    network = make_network("ofa_small_k7", None, 20)
    ranges = observe(network, [normalised(random_images(4, 20))])
    for change, message in (
        ({"block_99": (0, 1)}, "ranges: block_99 is not an activation of this network"),
        ({"pool": (float("nan"), 1)}, r"ranges: pool: \(nan, 1\) is not a range"),
        ({"pool": (2, 1)}, r"ranges: pool: \(2, 1\) is not a range"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            FakeQuantized(network, ranges | change)
    del ranges["pool"]
    with pytest.raises(ValueError, match=r"^ranges: pool: missing$"):
        FakeQuantized(network, ranges)


def test_ranges_follow_training_and_wait_for_the_delay():
    network, x = make_network("ofa_small_k7", None, 20), normalised(random_images(8, 20))
    ranges = {name: (low / 2, high / 2) for name, (low, high) in observe(network, [x]).items()}
    quantized = FakeQuantized(network, ranges, delay=2).train()
    quantized.weights = False
    with torch.no_grad():
        for _ in range(2):
            np.testing.assert_allclose(quantized(x), network(x), rtol=0, atol=1e-4)  # not rounded yet
        now = quantized.ranges
        assert all(now[name][1] > high for name, (_, high) in ranges.items() if high > 0 and name != "image")
        assert (quantized(x) - network(x)).abs().max() > 1e-3
        before = quantized.eval().ranges
        quantized(x)
        assert quantized.ranges == before
    learned = FakeQuantized(network, ranges, learn=True).train()
    learned(x).logsumexp(1).mean().backward()
    np.testing.assert_allclose(list(learned.ranges.values()), list(FakeQuantized(network, ranges).ranges.values()))
    assert learned.high_shift.grad.abs().min() > 0
    with torch.no_grad():
        learned.high_shift.add_(0.1)
    assert learned.ranges["pool"][1] == pytest.approx(ranges["pool"][1] * np.exp(0.1), rel=1e-5)
