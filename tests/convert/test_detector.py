"""Detectors in torch, TensorFlow and TFLite: equal outputs, one range for each end, elastic and stand-alone alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.operators import check_operators
from ofa_core.convert.tensorflow import read_model, tf
from ofa_core.convert.tflite import convert_float
from ofa_core.convert.tracing import trace
from ofa_core.nn.folding import FoldedNetwork
from ofa_core.nn.network import Network, build_supernet
from ofa_core.nn.recalibration import recalibrate
from ofa_core.nn.weights import load_layers, load_network, save_layers, save_network
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.grid import grid
from ofa_core.runtime.tflite import make_interpreter
from ofa_core.space.detector import BOXES, CLASS_LOGITS, CLASSES, detector_layers, features
from ofa_core.space.stock import stock_layers
from tests.convert.test_network import normalised, random_images
from tests.space.test_detector import SSD, small

ENDS = (BOXES, CLASSES)
KINDS = {"widths": small(), "plain": small(widths=()), "ssd": small(kind="ssd", widths=())}


def trained(name: str, seed: int = 0) -> tuple[Network, np.ndarray]:
    """A sub-network with statistics of the returned images, with outputs as files have them."""
    space = KINDS[name]
    torch.manual_seed(seed)
    net = build_supernet(space, 5)
    arch = space.sample(np.random.default_rng(seed))
    images = random_images(8, arch.r)
    net.set_active(arch)
    recalibrate(net, [normalised(images[:3]), normalised(images[3:])])
    network = net.extract(arch).eval()
    with torch.no_grad():
        found, expected = network(normalised(images)), net.eval()(normalised(images))
    assert list(found) == [BOXES, CLASS_LOGITS]
    for point, y in found.items():
        np.testing.assert_allclose(y, expected[point], atol=1e-4)
    network.outputs = ENDS
    return network, images


def run(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """The ends of a file as float, by name. images: uint8 (n, r, r, 3)."""
    interpreter = make_interpreter(content)
    runner, [image] = interpreter.get_signature_runner(), interpreter.get_input_details()
    pixels = images if image["dtype"] == np.uint8 else images.astype(np.float32) / np.float32(127.5) - 1
    rows: dict[str, list[np.ndarray]] = {end: [] for end in ENDS}
    for x in pixels:
        found = runner(image=x[None])
        for end, details in runner.get_output_details().items():
            scale, zero_point = details["quantization"]
            rows[end].append((found[end][0].astype(np.float32) - zero_point) * (scale or 1))
    return {end: np.stack(values) for end, values in rows.items()}


@pytest.mark.parametrize("name", KINDS)
def test_torch_tensorflow_and_tflite_agree(name: str) -> None:
    network, images = trained(name)
    whole = tf_network(network)
    content = convert_float(whole)
    found = check_operators("detector", content, whole.ops)
    assert (found["CONCATENATION"], found["LOGISTIC"], found["RESHAPE"]) == (2, 1, 6)
    with torch.no_grad():
        expected = network(normalised(images))
        folded = FoldedNetwork(network)(normalised(images))
    in_file = run(content, images)
    in_tensorflow = whole.function(tf.constant(images[:1].astype(np.float32) / np.float32(127.5) - 1))
    sides = KINDS[name].map_sides(len(images[0]))
    boxes = sum(count * side**2 for count, side in zip((3, 6, 6), sides, strict=True))
    for end in ENDS:
        assert expected[end].shape == (8, boxes, 4 if end == BOXES else 5)
        np.testing.assert_allclose(folded[end], expected[end], atol=1e-4)
        np.testing.assert_allclose(in_file[end], expected[end], atol=1e-4)
        np.testing.assert_allclose(in_tensorflow[end], expected[end][:1], atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_every_scale_of_the_integer_file_is_ours(name: str) -> None:
    network, images = trained(name)
    ranges = calibrate(network, images, "minmax", "composed")
    assert ranges[CLASSES] == (0.0, 255 / 256)
    assert "boxes_0" not in ranges
    content, simulated = convert_integer(network, ranges), FakeQuantized(network, ranges).eval()
    model = read_model(content)
    joined = {f"{end}_{i}": point for end, point in ((BOXES, BOXES), (CLASSES, CLASS_LOGITS)) for i in range(3)}
    int8 = 9  # TensorType.INT8
    seen = set()
    for operator in trace(model, simulated.ops):
        tensor = model.subgraphs[0].tensors[operator.output]
        if tensor.type == int8:
            bounds = grid(*(torch.tensor(bound) for bound in ranges[joined.get(operator.point, operator.point)]))
            assert tensor.quantization.scale[0] == pytest.approx(bounds.scale.item(), rel=1e-6), operator.point
            assert tensor.quantization.zeroPoint[0] == bounds.zero_point.item(), operator.point
            seen.add(operator.point)
    assert {*joined, BOXES, CLASS_LOGITS, CLASSES} <= seen
    found = run(content, images)
    with torch.no_grad():
        expected = simulated(normalised(images))
    for end in ENDS:
        low, high = ranges[end]
        steps = np.abs(found[end] - expected[end].numpy()) / ((high - low) / 255)
        assert steps.mean() < 3, end


def test_observed_ranges_of_an_end_are_not_cut_off_by_themselves() -> None:
    """In training, a join sees its maps before they are rounded, so its moving average can grow."""
    network, images = trained("ssd")
    ranges = calibrate(network, images, "minmax", "composed")
    narrow = ranges | {BOXES: (-1e-3, 1e-3)}
    net = FakeQuantized(network, narrow).train()
    for _ in range(50):
        net(normalised(images))
    assert net.ranges[BOXES][1] > 0.2 * ranges[BOXES][1]


def test_weights_of_detectors_on_disk(tmp_path: Path) -> None:
    space = KINDS["widths"]
    net = build_supernet(space, 5)
    arch = space.smallest()
    alone = net.extract(arch).eval()
    path = tmp_path / "detector.safetensors"
    save_network(path, alone, arch, {"space": space.description(), "num_classes": 5})
    x = torch.rand(2, 3, arch.r, arch.r)
    loaded, found = load_network(path)
    assert (found, loaded.outputs) == (arch, (BOXES, CLASS_LOGITS))
    with torch.no_grad():
        assert all(torch.equal(y, loaded(x)[point]) for point, y in alone(x).items())
    save_layers(path, alone)
    again = load_layers(path)
    assert (again.active, again.outputs) == (alone.active, alone.outputs)
    with torch.no_grad():
        assert all(torch.equal(y, again(x)[point]) for point, y in alone(x).items())


def test_the_stock_detector_converts() -> None:
    """SSD on MobileNetV2 at 300 pixels: torch, TensorFlow and the float file, on 1,917 boxes."""
    torch.manual_seed(0)
    network = Network(detector_layers(features(stock_layers("mobilenet_v2", 0.35, 300, 10)), SSD, 90), outputs=ENDS)
    images = random_images(8, 300)
    recalibrate(network, [normalised(images)])  # the smallest map is one position an image
    images = images[:2]
    found = run(convert_float(tf_network(network)), images)
    with torch.no_grad():
        expected = network(normalised(images))
    assert (found[BOXES].shape, found[CLASSES].shape) == ((2, 1917, 4), (2, 1917, 90))
    for end in ENDS:
        np.testing.assert_allclose(found[end], expected[end], rtol=1e-4, atol=1e-4)
