"""The TFLite files that are timed: one for each distinct layer of a space, and whole networks. Weights are random.

Batch norm statistics are not: they are those of noise that runs through. Otherwise signals would fade from layer to layer, as
they do in no trained network, and XNNPACK leaves integer operators whose scales are too far apart to slower kernels.
"""

from collections.abc import Sequence

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
from ofa_core.space.layers import Layer
from ofa_core.space.ops import HardSwish

INPUTS = 4
"""Noise images, or maps, that statistics and ranges come from."""


def layer_file(layer: Layer, dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of one layer. uint8 means integer arithmetic, with int8 in and out as inside such a network; the layer that
    sees the image takes it as uint8, so that its time includes the conversion."""
    shape = (INPUTS, layer.inp) if layer.kind == "linear" else (INPUTS, layer.resolution, layer.resolution, layer.inp)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    network = _random_network([layer], torch.from_numpy(noise.transpose(0, 3, 1, 2)) if noise.ndim == 4 else None)
    alone = TFNetwork([layer], fold(network), hard_swish=hard_swish, softmax=False)
    return convert_float(alone) if dtype == "float32" else convert_part(alone, noise, image=layer.inp == 3)


def network_file(space: Space, arch: Arch, num_classes: int, dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of a whole network. Raises ValueError when `arch` is not of the space."""
    return layers_file(space.layers(arch, num_classes), dtype, hard_swish)


def layers_file(layers: Sequence[Layer], dtype: Dtype, hard_swish: HardSwish = "composed") -> bytes:
    """A TFLite file of a whole network, from its layer list; made as released ones are."""
    r = layers[0].resolution
    images = np.random.default_rng(0).integers(0, 256, (INPUTS, r, r, 3), dtype=np.uint8)
    network = _random_network(layers, to_input(images))
    if dtype == "float32":
        return convert_float(tf_network(network, hard_swish=hard_swish))
    return convert_integer(network, calibrate(network, images, "minmax", hard_swish), hard_swish)


def trivial_file(dtype: Dtype) -> bytes:
    """A file with almost no arithmetic: its time is the cost of calling the interpreter."""
    return layer_file(Layer(name="trivial", kind="linear", inp=8, out=8, resolution=1), dtype)


def _random_network(layers: Sequence[Layer], x: torch.Tensor | None) -> Network:
    """Random weights; statistics of batch norms are those of x (n, channels, r, r), None where there are none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(layers).eval()
    if x is not None:
        recalibrate(network, [x])
    return network
