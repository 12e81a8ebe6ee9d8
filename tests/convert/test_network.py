"""Export: TFLite and ONNX files against the torch network, their quantisation, their operators, and their bytes."""

import copy
import functools
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ofa_core.convert.folding import fold
from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import TFNetwork, tf_network
from ofa_core.convert.onnx import export_onnx
from ofa_core.convert.operators import operators
from ofa_core.convert.params import ConversionParams
from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert_float, convert_part
from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.network import Network
from ofa_core.nn.recalibration import recalibrate
from ofa_core.runtime.tflite import TFLiteModel, make_interpreter
from ofa_core.space.registry import get_space

# Even and odd maps meet both ways of padding: 20 -> 10 -> 5 -> 3, 28 -> 14 -> 7 -> 4, 44 -> 22 -> 11 -> 6 -> 3 -> 2.
NETWORKS = [("ofa_small_k7", None, 20), ("ofa_small_se", None, 28), ("ofa_proxyless", 0.25, 44), ("ofa_resnet50", None, 36)]


def make_network(name, width_mult, resolution, seed=0, classes=10):
    """A small sub-network with the batch norms of a trained one and logits that differ between images."""
    space = get_space(name, width_mult=width_mult, resolutions=[resolution])
    torch.manual_seed(seed)
    arch = space.smallest()  # the shallowest: conversion takes time
    if name != "ofa_resnet50":
        sampled = space.sample(np.random.default_rng(seed))
        arch = replace(arch, ks=sampled.ks, e=sampled.e)
    network = Network(space.layers(arch, classes)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, BatchNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
    recalibrate(network, [normalised(random_images(16, resolution))])
    spread_logits(network, random_images(16, resolution))
    return network


def spread_logits(network, images):
    """Scales the classifier, so that logits differ between images and between classes."""
    with torch.no_grad():
        logits = network(normalised(images))  # (n, classes)
        centre, spread = logits.mean(0), 2 * (logits - logits.mean(0)).std()
        network.parts["classifier"].weight /= spread
        network.parts["classifier"].bias -= centre / spread


def conversion(**changes):
    """Parameters of a conversion that untrained networks pass."""
    values = {"formats": ("uint8", "float"), "hard_swish": "composed", "background": False, "keep_float": ()}
    values |= {"calibration": "minmax", "max_float_difference": 1e-5}
    values |= {"min_kernel_agreement": 0.0, "min_simulation_agreement": 0.0}
    return ConversionParams(**(values | changes))


def random_images(count, resolution, seed=0):
    """Noise over colour gradients: to a random network, pure noise looks the same for every seed."""
    rng, ramp = np.random.default_rng(seed), np.linspace(-1, 1, resolution)
    colour, down, right = rng.uniform(-1, 1, (3, count, 1, 1, 3))
    images = (
        colour + down * ramp[:, None, None] + right * ramp[:, None] + rng.normal(0, 0.3, (count, resolution, resolution, 3))
    )
    return (np.clip(images, -1, 1) * 127.5 + 127.5).round().astype(np.uint8)


def normalised(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1  # (n, 3, r, r)


def torch_probabilities(network, images):
    with torch.no_grad():
        return torch.softmax(network(normalised(images)), dim=1).numpy()


def integer(network, images, hard_swish="composed"):
    """The uint8 file of a network, calibrated on images."""
    return convert_integer(network, calibrate(network, images, "minmax", hard_swish), hard_swish)


@pytest.fixture(scope="module", params=NETWORKS, ids=[name for name, *_ in NETWORKS])
def exported(request):
    name, width_mult, resolution = request.param
    network = make_network(name, width_mult, resolution)
    return name, network, resolution, tf_network(network)


def test_float_tflite_and_onnx_agree_with_torch(exported):
    _, network, resolution, whole = exported
    images = random_images(4, resolution)
    expected = torch_probabilities(network, images)
    assert expected.std() > 0.01  # not constant
    np.testing.assert_allclose(TFLiteModel(convert_float(whole)).predict(images), expected, rtol=0, atol=1e-5)
    content = export_onnx(network, resolution)
    session = onnxruntime.InferenceSession(content)
    rows = normalised(images).numpy()
    got = np.concatenate([session.run(["probabilities"], {"image": row[None]})[0] for row in rows])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_uint8_takes_bytes_and_gives_probabilities(exported):
    name, network, resolution, _ = exported
    model = TFLiteModel(integer(network, random_images(16, resolution)))
    assert model.size == (resolution, resolution)
    assert model.input_details["dtype"] == model.output_details["dtype"] == np.uint8
    scale, zero_point = model.input_details["quantization"]
    assert scale == pytest.approx(2 / 255, rel=1e-6)
    assert zero_point in (127, 128)
    assert model.output_details["quantization"] == (1 / 256, 0)
    images = random_images(16, resolution, seed=1)
    expected, got = torch_probabilities(network, images), model.predict(images)
    np.testing.assert_allclose(got.sum(1), 1, atol=10 / 256)
    # Untrained narrow networks quantise badly (0.8 to 0.95 is usual). A wrong scale or layout gives about 0.
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.6
    assert {str(np.dtype(t["dtype"])) for t in model.interpreter.get_tensor_details()} <= {"uint8", "int8", "int32"}
    weights = [t for t in model.interpreter.get_tensor_details() if len(t["quantization_parameters"]["scales"]) > 1]
    assert len(weights) > 5, name  # per channel
    assert all((t["quantization_parameters"]["zero_points"] == 0).all() for t in weights)


def test_operators_of_relu6_networks():
    network = make_network("ofa_small_k7", None, 20)
    whole = tf_network(network)
    blocks = [layer for layer in network.active if layer.kind == "mbconv"]
    strided_on_even = sum(layer.stride == 2 and layer.resolution % 2 == 0 for layer in network.active)
    expected = {
        "CONV_2D": 2 + sum(2 - (layer.mid == layer.inp) for layer in blocks),
        "DEPTHWISE_CONV_2D": len(blocks),
        "ADD": sum(layer.residual for layer in blocks),
        "PAD": strided_on_even,
        "MEAN": 1,
        "FULLY_CONNECTED": 2,
        "SOFTMAX": 1,
    }  # ReLU6 and biases are inside these
    assert +operators(convert_float(whole)) == expected
    assert operators(integer(network, random_images(2, 20))) == expected | {"QUANTIZE": 2}  # uint8 to int8 and back


def test_hard_swish_fused_and_composed_are_equal():
    network = make_network("ofa_small_se", None, 20)
    images = random_images(2, 20)
    expected = torch_probabilities(network, images)
    swishes = sum({"conv": 1, "linear": 1, "mbconv": 2}[x.kind] for x in network.active if x.act == "h_swish")
    for hard_swish, count in (("fused", swishes), ("composed", 0)):
        whole = tf_network(network, hard_swish=hard_swish)
        content = convert_float(whole)
        np.testing.assert_allclose(TFLiteModel(content).predict(images), expected, rtol=0, atol=1e-5)
        for found in (operators(content), operators(integer(network, images, hard_swish))):
            assert found["HARD_SWISH"] == count
            assert found["DEQUANTIZE"] == found["RELU6"] == found["RELU"] == 0


def test_parts_of_a_network_run_after_one_another():
    network = make_network("ofa_small_se", None, 20)
    weights, x = fold(network), random_images(1, 20).astype(np.float32) / 127.5 - 1
    whole = TFNetwork(network.active, weights, softmax=False).function(tf.constant(x))["output"].numpy()
    for layer in network.active:
        x = TFNetwork([layer], weights, softmax=False).function(tf.constant(x))["output"].numpy()
    np.testing.assert_allclose(x, whole, atol=1e-5)


def test_bad_input_is_one_clear_line():
    network = make_network("ofa_small_k7", None, 20)
    whole = tf_network(network)
    for images in (random_images(0, 20), random_images(2, 24), random_images(2, 20).astype(np.float32)):
        with pytest.raises(ValueError, match="calibration images: "):
            calibrate(network, images, "minmax", "composed")
    with pytest.raises(ValueError, match="calibration inputs"):
        convert_part(whole, np.zeros((0, 20, 20, 3)))
    with pytest.raises(ValueError, match="classifier: does not take the output of first_conv"):
        TFNetwork([network.active[0], network.active[-1]], fold(network))
    with pytest.raises(ValueError, match=r"first_conv\.conv: kernel is missing"):
        TFNetwork(network.active, {})
    with pytest.raises(ValueError, match="resolution: 24, the network is made for 20"):
        export_onnx(network, 24)
    network.parts["block_1"].project.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"block_1\.project: kernel holds values that are not finite"):
        fold(network)
    with pytest.raises(ValueError, match="not finite"):
        export_onnx(network, 20)
    with pytest.raises(ValueError, match="not a TFLite file"):
        make_interpreter(b"")
    model = TFLiteModel(convert_float(whole))
    assert model.predict(random_images(0, 20)).shape == (0, 10)
    with pytest.raises(ValueError, match="the model takes uint8"):
        model.predict(random_images(1, 24))


def test_onnx_is_tidy():
    model = onnx.load_from_string(files_of_a_network()[2])
    assert [x.name for x in model.graph.input] == ["image"]
    assert [x.name for x in model.graph.output] == ["probabilities"]
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}  # folded by the exporter
    assert any(node.name.endswith("block_1.expand") for node in model.graph.node)
    content = model.SerializeToString()
    assert b"ofa_core/" not in content
    assert b".py" not in content


@functools.cache
def files_of_a_network():
    """The uint8, the float and the ONNX file. The network is unchanged."""
    network = make_network("ofa_small_se", None, 20)
    uint8_file = integer(network, random_images(4, 20))
    before = copy.deepcopy(network.train().state_dict())
    files = uint8_file, convert_float(tf_network(network)), export_onnx(network, 20)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return files
