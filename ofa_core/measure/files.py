"""The TFLite files that are timed: one for each distinct layer of a space, and whole networks. Weights are random."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch

from ofa_core.arch import Arch
from ofa_core.costs import LayerSum
from ofa_core.export.folding import fold
from ofa_core.export.params import HardSwish
from ofa_core.export.tflite import convert_float, convert_int8, convert_uint8
from ofa_core.export.twin import Twin
from ofa_core.layers import Layer
from ofa_core.nn.network import Network
from ofa_core.space import Space

Dtype = Literal["uint8", "float32"]


def distinct_layers(space: Space, resolutions: Iterable[int], num_classes: int) -> list[Layer]:
    """One layer for each `Layer.key` that any sub-network of the space has at these resolutions, in the order they run."""
    layers: dict[str, Layer] = {}

    def collect(layer: Layer) -> float:
        layers.setdefault(layer.key, layer)
        return 0.0

    visit = LayerSum(space, collect, num_classes)
    for resolution in resolutions:
        visit.tables(resolution)
    return list(layers.values())


def layer_file(layer: Layer, dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of one layer; uint8 means integer arithmetic, and int8 in and out as inside such a network."""
    twin = _random_twin([layer], hard_swish, softmax=False)
    if dtype == "float32":
        return convert_float(twin)
    noise = np.random.default_rng(0).standard_normal((1, *twin.input_shape[1:]), dtype=np.float32)
    return convert_int8(twin, noise)


def network_file(space: Space, arch: Arch, num_classes: int, dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of a whole network. Raises ValueError when `arch` is not of the space."""
    return layers_file(space.layers(arch, num_classes), dtype, hard_swish)


def layers_file(layers: Sequence[Layer], dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of a whole network, from its layer list."""
    twin = _random_twin(layers, hard_swish, softmax=True)
    if dtype == "float32":
        return convert_float(twin)
    return convert_uint8(twin, np.random.default_rng(0).integers(0, 256, (1, *twin.input_shape[1:]), dtype=np.uint8))


def trivial_file(dtype: Dtype) -> bytes:
    """A file with next to no arithmetic: its time is what a call of the interpreter costs whatever it runs."""
    return layer_file(Layer(name="trivial", kind="linear", inp=8, out=8, resolution=1), dtype)


def _random_twin(layers: Sequence[Layer], hard_swish: HardSwish, softmax: bool) -> Twin:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(layers).eval()
    return Twin(layers, fold(network), hard_swish=hard_swish, softmax=softmax)
