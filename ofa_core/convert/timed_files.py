"""TFLite files for timing: one for each distinct layer of a space, and whole networks. Weights are random.

Batch norm statistics are measured on noise. Otherwise signals would fade from layer to layer, unlike in a trained network,
and XNNPACK leaves integer operators to slower kernels if their scales are too far apart.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ofa_core.convert.folding import fold
from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import TFNetwork, tf_network
from ofa_core.convert.params import Dtype
from ofa_core.convert.tflite import convert_float, convert_part
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import Network
from ofa_core.nn.recalibration import recalibrate
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.graph import ends
from ofa_core.space.layers import Layer
from ofa_core.space.ops import HardSwish

INPUTS = 4
"""Noise images, or maps, for statistics and ranges."""


def layer_file(layer: Layer, dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of one layer. uint8 means integer arithmetic, with int8 in and out as inside a network. The layer that
    reads the image takes uint8, so its time includes the conversion. A join takes each of its maps as an input."""
    if layer.kind == "join":
        return _join_file(layer, dtype)
    layer = replace(layer, source=None)
    shape = (INPUTS, layer.inp) if layer.kind == "linear" else (INPUTS, layer.resolution, layer.resolution, layer.inp)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    network = _random_network([layer], torch.from_numpy(noise.transpose(0, 3, 1, 2)) if noise.ndim == 4 else None)
    alone = TFNetwork([layer], fold(network), hard_swish=hard_swish, softmax=False)
    return convert_float(alone) if dtype == "float32" else convert_part(alone, noise, image=layer.inp == 3)


def _join_file(layer: Layer, dtype: Dtype) -> bytes:
    """A file of a join, which has no weights."""
    alone = TFNetwork([layer], {}, softmax=False, inputs=layer.sources)
    if dtype == "float32":
        return convert_float(alone)
    # Every map has the same range, so none is converted to the scale of the result. In a network they share it.
    sizes = [(INPUTS, *shape[1:]) for shape in alone.input_shapes]
    return convert_part(alone, *(np.linspace(-3, 3, math.prod(size)).reshape(size) for size in sizes))


def network_file(space: Space, arch: Arch, num_classes: int, dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of a whole network. Raises InputError when `arch` is not in the space."""
    return layers_file(space.layers(arch, num_classes), dtype, hard_swish)


def layers_file(layers: Sequence[Layer], dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of a whole network, from its layer list, made like released ones. Where no layer reads several of them, as
    the ends of a detector, all of these are outputs."""
    r = layers[0].resolution
    images = np.random.default_rng(0).integers(0, 256, (INPUTS, r, r, 3), dtype=np.uint8)
    network = _random_network(layers, to_input(images))
    if dtype == "float32":
        return convert_float(tf_network(network, hard_swish=hard_swish))
    return convert_integer(network, calibrate(network, images, "minmax", hard_swish), hard_swish)


def trivial_file(dtype: Dtype) -> bytes:
    """A file with almost no arithmetic: its time is the fixed cost of an interpreter call."""
    return layer_file(Layer(name="trivial", kind="linear", inp=8, out=8, resolution=1), dtype)


def _random_network(layers: Sequence[Layer], x: torch.Tensor | None) -> Network:
    """A network with random weights and the batch norm statistics of x (n, channels, r, r), if given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = ends(layers)
        network = Network(layers, outputs=found if len(found) > 1 else ()).eval()
    if x is not None:
        recalibrate(network, [x])
    return network
