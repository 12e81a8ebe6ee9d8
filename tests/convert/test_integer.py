"""Full-integer files from our own ranges: every scale is the network's, and torch simulates the kernels."""

import numpy as np
import pytest
import torch

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.operators import operators
from ofa_core.export.formats import export_network
from ofa_core.export.scales import check_scales, compare_scales
from ofa_core.export.simulation import check_simulation, compare_simulation, drift
from ofa_core.nn.network import Network
from ofa_core.nn.recalibration import recalibrate
from ofa_core.quantization.fake import FakeQuantized, of_form
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.stock import stock_layers
from ofa_core.tasks.registry import get_task
from tests.convert.test_network import NETWORKS, conversion, make_network, normalised, random_images, spread_logits
from tests.networks import CLASSES, TINY, random_net

TASK = get_task("classification")
FAMILIES = [*NETWORKS, ("mobilenet_v2", 0.35, 32), ("mobilenet_v3_small", 0.35, 32)]


def network_of(name, width_mult, resolution):
    if not name.startswith("mobilenet"):
        return make_network(name, width_mult, resolution)
    torch.manual_seed(0)
    network = Network(stock_layers(name, width_mult, resolution, 10, 8)).eval()
    recalibrate(network, [normalised(random_images(8, resolution))])
    return network


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family[0])
def test_every_scale_in_the_file_is_the_networks(family):
    network, resolution = network_of(*family), family[2]
    trained = calibrate(network, random_images(8, resolution), "minmax", "composed")
    # Arbitrary numbers, as after training.
    rng = np.random.default_rng(0)
    trained = {name: tuple(sorted(np.float32(b) * rng.uniform(0.5, 1.5) for b in bounds)) for name, bounds in trained.items()}
    trained["image"] = calibrate(network, random_images(1, resolution), "minmax", "composed")["image"]
    for form in ("composed", "fused") if any(layer.act == "h_swish" for layer in network.active) else ("composed",):
        ranges = of_form(trained, form)
        assert set(ranges) == {"image", *FakeQuantized(network, hard_swish=form).index}
        content = convert_integer(network, ranges, form)
        rows = compare_scales(content, FakeQuantized(network, ranges, hard_swish=form))
        counts = check_scales(rows)
        assert {row["tensor"] for row in rows if row["kind"] == "activation"} == {*ranges, "probabilities"}
        found = operators(content)
        assert counts["weights"] == found["CONV_2D"] + found["DEPTHWISE_CONV_2D"] + found["FULLY_CONNECTED"]
        assert found["QUANTIZE"] == 2
        assert found["DEQUANTIZE"] == 0


def test_a_scale_that_differs_is_named():
    network = make_network("ofa_small_k7", 0.5, 20)
    ranges = calibrate(network, random_images(8, 20), "minmax", "composed")
    content = convert_integer(network, ranges)
    low, high = ranges["block_1.expand"]
    other = ranges | {"block_1.expand": (low, high * 1.001)}
    with pytest.raises(ValueError, match=r"^scales: block_1.expand: activation: [\d.]+ with zero point -128 in the file, "):
        check_scales(compare_scales(content, FakeQuantized(network, other)))
    with torch.no_grad():
        network.parts["block_1"].project.weight[3] *= 1.01
    with pytest.raises(ValueError, match=r"^scales: block_1.project: weights: .* \(2 of \d+ tensors differ\)$"):
        check_scales(compare_scales(content, FakeQuantized(network, ranges)))
    with pytest.raises(ValueError, match=r"^ranges: block_99 is not an activation of this network$"):
        convert_integer(network, ranges | {"block_99": (0, 1)})
    del ranges["block_1"]
    with pytest.raises(ValueError, match=r"^ranges: block_1: missing$"):
        convert_integer(network, ranges)


def test_channels_without_weights_have_the_converters_least_scale():
    network = make_network("ofa_small_k7", 0.5, 20)
    with torch.no_grad():
        expand = network.parts["block_1"].expand
        expand.weight[3], expand.bn.bias[3] = 0, 0
        expand.weight[4] *= 1e-12
        expand.bn.bias[4] = 3  # more than 31 bits with the least scale
    images = random_images(8, 20)
    ranges = calibrate(network, images, "minmax", "composed")
    check_scales(compare_scales(convert_integer(network, ranges), FakeQuantized(network, ranges)))


@pytest.mark.parametrize("pick", ["smallest", "sample", "largest"])
def test_networks_of_elastic_width_are_cut_out_and_quantised(pick):
    """Narrow layers are slices of the super-network's, and the file has the slices' scales and answers."""
    space = TINY["elastic_width"]
    arch = space.sample(np.random.default_rng(1)) if pick == "sample" else getattr(space, pick)(20)
    supernet = random_net(space)
    supernet.set_active(arch)
    images = random_images(64, arch.r)
    recalibrate(supernet, [normalised(images)])
    network = supernet.extract(arch).eval()
    spread_logits(network, images)
    assert [layer.out for layer in network.active] == [layer.out for layer in space.layers(arch, CLASSES)]
    ranges = calibrate(network, images, "minmax", "composed")
    content = convert_integer(network, ranges)
    simulation = FakeQuantized(network, ranges).eval()
    check_scales(compare_scales(content, simulation))
    assert TFLiteModel(content).predict(images).shape == (64, CLASSES)
    for agreed in compare_simulation(simulation, content, images, TASK).values():
        assert agreed["same_top1"] > 0.7


@pytest.mark.parametrize("form", ["composed", "fused"])
def test_torch_simulates_the_file(form):
    network = make_network("ofa_small_se", None, 20)
    ranges, images = calibrate(network, random_images(32, 20), "minmax", form), random_images(40, 20, seed=1)
    content = convert_integer(network, ranges, form)
    simulation = FakeQuantized(network, ranges, hard_swish=form).eval()
    found = compare_simulation(simulation, content, images, TASK)
    steps = drift(simulation, content, images)
    assert set(steps) == set(ranges) - {"image"}
    # A convolution equals the simulation to the step. Later layers pass differences on: see docs/export.md.
    assert steps["first_conv.sum"]["same_values"] > 0.99
    assert steps["first_conv.sum"]["largest_steps"] <= 1
    assert steps["first_conv"]["largest_steps"] <= 2
    assert max(row["mean_steps"] for row in steps.values()) < 10
    for agreed in found.values():
        assert agreed["same_top1"] > 0.7
        assert agreed["largest_steps"] < 30
    # It is closer to the file than the network is.
    with torch.no_grad():
        exact = network(normalised(images)).softmax(1).numpy()
        simulated = simulation(normalised(images)).softmax(1).numpy()
    file = TFLiteModel(content).predict(images)
    assert np.abs(simulated - file).mean() < np.abs(exact - file).mean()
    message = r"^uint8: xnnpack kernels and the simulation in torch agree on 50.00% of the images, less than min_sim"
    with pytest.raises(ValueError, match=message):
        check_simulation({"xnnpack": {"same_top1": 0.5}}, 0.9, TASK)


def test_layers_that_stay_float_are_float_in_the_simulation():
    network = make_network("ofa_small_se", None, 20)
    ranges, images = calibrate(network, random_images(8, 20), "minmax", "composed"), random_images(4, 20, seed=1)
    for kept in (("first_conv",), ("block_9", "block_10"), ("classifier",)):
        content = convert_integer(network, ranges, keep_float=kept)
        check_scales(compare_scales(content, FakeQuantized(network, ranges), kept))
        found = drift(FakeQuantized(network, ranges, keep_float=kept).eval(), content, images)
        assert not [name for name in found if name.partition(".")[0] in kept]
    everything = [layer.name for layer in network.active]
    simulation = FakeQuantized(network, ranges, keep_float=everything).eval()
    brighter = normalised(images) + 1 / 255
    with torch.no_grad():
        expected = network(brighter).clamp(*ranges["classifier"])  # only image and logits are rounded
        np.testing.assert_allclose(simulation(normalised(images)), expected, atol=0.05)


def test_trained_ranges_are_exported():
    network, images = make_network("ofa_small_se", None, 20), random_images(8, 20)
    trained = {name: (low * 0.9, high * 0.9) for name, (low, high) in calibrate(network, images, "minmax", "composed").items()}
    trained["image"] = calibrate(network, images, "minmax", "composed")["image"]
    classes = tuple("abcdefghij")
    for form in ("composed", "fused"):
        exported = export_network(network, classes, conversion(), form, images, images, ranges=trained, task=TASK)
        [row] = [row for row in exported.scales if row["tensor"] == "block_9.expand" and row["kind"] == "activation"]
        assert row["scale"] == pytest.approx((trained["block_9.expand"][1] - trained["block_9.expand"][0]) / 255, rel=0.01)
        assert row["equal"]
    exported = export_network(
        network, classes, conversion(background=True), "composed", images, images, ranges=trained, task=TASK
    )
    assert all(row["equal"] for row in exported.scales)
