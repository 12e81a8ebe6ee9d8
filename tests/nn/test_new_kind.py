"""The example of docs/architecture.md: a new kind of layer needs only a lowering and a module."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.operators import check_operators
from ofa_core.convert.tflite import convert_float
from ofa_core.nn.elastic import ConvBN
from ofa_core.nn.mbconv import Depthwise
from ofa_core.nn.network import PARTS, Network
from ofa_core.nn.part import Part, Taps, tap
from ofa_core.nn.recalibration import recalibrate
from ofa_core.nn.slices import State, activate, submodule_state
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.layers import LOWERINGS, Layer, Writer
from ofa_core.space.ops import Op
from tests.convert.test_network import normalised, random_images, torch_probabilities


def lower_separable(write: Writer, x: str) -> Iterator[Op]:
    layer = write.layer
    wise = write.weighted("depthwise", "depthwise", x, layer.inp, layer.inp, layer.resolution, act=layer.act, **write.window)
    yield from wise
    after = wise[-1].out_resolution
    yield from write.weighted("conv", "project", wise[-1].point, layer.inp, layer.out, after, point="", act=layer.act)


class Separable(Part):
    def __init__(self, layer: Layer, kernels: Sequence[int]) -> None:
        super().__init__()
        assert layer.bn_eps is not None
        self.depthwise = Depthwise(layer.inp, kernels, layer.bn_eps)
        self.project = ConvBN(layer.inp, layer.out, 1, layer.bn_eps)

    def forward(self, x: Tensor, layer: Layer, taps: Taps | None = None) -> Tensor:
        y = activate(self.depthwise(x, layer.kernel, layer.stride, layer.padding), layer.act)
        return activate(self.project(tap(taps, f"{layer.name}.depthwise", y), layer.out), layer.act)

    def sliced(self, layer: Layer) -> State:
        return submodule_state("depthwise", self.depthwise.sliced(layer.inp, layer.kernel)) | submodule_state(
            "project", self.project.sliced(layer.inp, layer.out)
        )


@pytest.mark.parametrize("act", ["relu6", "h_swish"])
def test_a_new_kind_is_counted_run_quantised_and_converted(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    monkeypatch.setitem(LOWERINGS, "separable", lower_separable)  # type: ignore[misc]
    monkeypatch.setitem(PARTS, "separable", Separable)  # type: ignore[misc]
    fields = {"bn_eps": 1e-5, "act": act}
    layers = [
        Layer(name="stem", kind="conv", inp=3, out=8, kernel=3, stride=2, resolution=20, **fields),  # type: ignore[arg-type]
        Layer(name="wise", kind="separable", inp=8, out=16, kernel=5, stride=2, resolution=10, **fields),  # type: ignore[arg-type]
        Layer(name="pool", kind="avgpool", inp=16, out=16, resolution=5),
        Layer(name="classifier", kind="linear", inp=16, out=4, bias=True, resolution=1),
    ]
    assert layers[1].key == f"separable-10x10x8-5x5x16-kernel:5-stride:2-{act}"
    assert (layers[1].macs, layers[1].params) == (8 * 25 * 25 + 8 * 16 * 25, 8 * 25 + 16 + 8 * 16 + 32)
    torch.manual_seed(0)
    network, images = Network(layers), random_images(12, 20)
    recalibrate(network, [normalised(images)])
    expected, whole = torch_probabilities(network, images), tf_network(network)
    content = convert_float(whole)
    check_operators("float", content, whole.ops)
    np.testing.assert_allclose(TFLiteModel(content).predict(images), expected, atol=1e-5)
    ranges = calibrate(network, images, "minmax", "composed")
    uint8 = TFLiteModel(convert_integer(network, ranges)).predict(images)
    with torch.no_grad():
        simulated = FakeQuantized(network, ranges).eval()(normalised(images)).softmax(1).numpy()
    np.testing.assert_allclose(uint8, simulated, atol=3 / 256)
