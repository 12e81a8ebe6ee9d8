"""Layer lists that are graphs, and TensorFlow's padding, as TFLite files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ofa_core.convert.network import tf_network
from ofa_core.convert.operators import check_operators, expected_operators, operators
from ofa_core.convert.tensorflow import read_model, tf
from ofa_core.convert.tflite import convert_float
from ofa_core.convert.tracing import trace
from ofa_core.nn.network import Network
from ofa_core.runtime.tflite import TFLiteModel, make_interpreter
from ofa_core.space.graph import lower_network
from ofa_core.space.layers import Layer
from tests.convert.test_network import NETWORKS, make_network, normalised, random_images, torch_probabilities
from tests.nn.test_parts import fresh
from tests.space.test_ops import graph


def test_a_graph_converts_with_all_of_its_outputs() -> None:
    network = fresh(*graph(), outputs=("head", "inner"))
    images = random_images(3, 20)
    whole = tf_network(network)
    with torch.no_grad():
        expected = network(normalised(images))
    for i, image in enumerate(images):
        found = whole.function(tf.constant(image[None].astype(np.float32) / 127.5 - 1))
        for point, y in found.items():
            np.testing.assert_allclose(y[0], expected[point][i].permute(1, 2, 0), atol=1e-5)
    content = convert_float(whole)
    check_operators("graph", content, whole.ops)
    interpreter = make_interpreter(content)
    signature = interpreter.get_signature_list()["serving_default"]
    assert sorted(signature["outputs"]) == ["head", "inner"]
    runner = interpreter.get_signature_runner("serving_default")
    outputs = runner(image=images[:1].astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(outputs["inner"][0], expected["inner"][0].permute(1, 2, 0), atol=1e-5)
    points = {operator.point for operator in trace(read_model(content), whole.ops)}
    assert points - {"image"} == {op.point for op in whole.ops}


@pytest.mark.parametrize("resolution", [20, 22])
def test_same_padding_needs_no_pad_operator(resolution: int) -> None:
    symmetric = make_network("ofa_small_k7", 0.5, 20).active
    layers: list[Layer] = []
    for layer in symmetric:
        size = resolution if not layers else layers[-1].out_resolution
        layers.append(replace(layer, padding="same", resolution=size))
    torch.manual_seed(0)
    network = Network(layers).eval()
    content, images = convert_float(tf_network(network)), random_images(3, resolution)
    np.testing.assert_allclose(TFLiteModel(content).predict(images), torch_probabilities(network, images), atol=1e-5)
    assert operators(content)["PAD"] == 0


@pytest.mark.parametrize(("name", "width_mult", "resolution"), NETWORKS, ids=[name for name, *_ in NETWORKS])
@pytest.mark.parametrize("form", ["composed", "fused"])
def test_operators_are_those_of_the_operations(name: str, width_mult: float | None, resolution: int, form: str) -> None:
    network = make_network(name, width_mult, resolution)
    whole = tf_network(network, hard_swish=form)  # type: ignore[arg-type]
    found = operators(convert_float(whole))
    assert {kind: count for kind, count in found.items() if kind not in ("PAD", "SOFTMAX")} == +expected_operators(whole.ops)
    with pytest.raises(ValueError, match=r"operators [A-Z_0-9]+, the layers need"):
        check_operators("float", convert_float(whole), lower_network(network.active[:-3], form))  # type: ignore[arg-type]
