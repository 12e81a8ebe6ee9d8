"""Networks made from layer lists: the elastic super-network and the stand-alone network are the same class.

A `Network` holds one module for each layer of the list it was built from. It runs the layers of `active`, which may be
fewer and narrower. The super-network is built from a space's largest list.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_core.nn.bottleneck import Bottleneck
from ofa_core.nn.elastic import Conv, Join, Linear, Pool
from ofa_core.nn.inputs import SYMMETRIC, Normalization
from ofa_core.nn.mbconv import DepthwiseLayer, MBConv
from ofa_core.nn.part import Part, Taps
from ofa_core.nn.slices import State
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.graph import Step, output_points, plan
from ofa_core.space.layers import Kind, Layer
from ofa_core.space.ops import IMAGE

PARTS: dict[Kind, Callable[[Layer, Sequence[int]], Part]] = {
    "conv": lambda layer, kernels: Conv(layer),
    "depthwise": DepthwiseLayer,
    "mbconv": MBConv,
    "bottleneck": lambda layer, kernels: Bottleneck(layer),
    "maxpool": lambda layer, kernels: Pool(layer),
    "avgpool": lambda layer, kernels: Pool(layer),
    "linear": lambda layer, kernels: Linear(layer),
    "join": lambda layer, kernels: Join(layer),
}
"""By kind of layer: builds its module from the record of its largest form and its kernel sizes, ascending."""
CLASSIFIER = "classifier"
"""The layer whose input gets dropout in training."""


class LayerModule(nn.Module):
    """A module that computes a list of layers: a network, or one that imitates its integer file."""

    active: list[Layer]
    """The layers that run; may be replaced."""
    dropout: float
    """Probability of dropping a feature before the classifier in training; may be changed."""
    normalization: Normalization
    """How pixels become its input."""


class Network(LayerModule):
    """A network over a list of layer records.

    layers: the records at their largest sizes; the first `active` list.
    kernels: the elastic kernel sizes, ascending, of layers that have any, by layer name.
    dropout: probability of dropping a feature before the classifier in training.
    outputs: the points it returns; by default the last layer. normalization: of its input.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        kernels: Mapping[str, Sequence[int]] = {},
        dropout: float = 0.0,
        outputs: Sequence[str] = (),
        normalization: Normalization = SYMMETRIC,
    ) -> None:
        super().__init__()
        self.normalization = normalization
        self.active, self.dropout, self.outputs = list(layers), dropout, tuple(outputs)
        self.parts = nn.ModuleDict(
            {layer.name: PARTS[layer.kind](layer, kernels.get(layer.name, (layer.kernel,))) for layer in layers}
        )

    def forward(self, x: Tensor) -> Any:
        """(B, 3, r, r) -> (B, num_classes); with named outputs, a dictionary of tensors by point."""
        values: dict[str, Any] = {IMAGE: x}
        for step in plan(self.active, self.outputs):
            values |= self.run_step(step, [values[point] for point in step.sources])
            for point in step.unused:
                del values[point]
        found = {point: values[point] for point in output_points(self.active, self.outputs)}
        return found if self.outputs else found[self.active[-1].name]

    def sliced(self, layer: Layer) -> State:
        """The state of one layer of the active list, cut to its size, by name inside the layer."""
        part = self.parts[layer.name]
        assert isinstance(part, Part)
        return part.sliced(layer)

    def run_step(self, step: Step, inputs: Sequence[Tensor]) -> Taps:
        """Runs one layer on the points of `step.sources`. Returns its output and the points of `step.taps`, by name.

        Raises InputError for a point that the layer does not have.
        """
        layer = step.layer
        x = inputs if layer.maps else inputs[0]
        if self.dropout and layer.name == CLASSIFIER:
            x = F.dropout(inputs[0], self.dropout, self.training)
        taps: Taps = dict.fromkeys(step.taps)
        taps[layer.name] = self.parts[layer.name](x, layer, taps)
        for point, value in taps.items():
            if value is None:
                raise InputError(f"{point}: not a point that layer {layer.name} gives")
        return taps


class SuperNetwork(Network):
    """All sub-networks of a space in one set of weights. Starts as the full network at the space's largest resolution."""

    def __init__(self, space: Space, num_classes: int, dropout: float = 0.0) -> None:
        largest = space.layers(space.largest(), num_classes)
        genes = [(slot.name, space.genes[column]) for slot in space.slots for column in slot.genes]
        kernels = {name: [int(size) for size in gene.choices] for name, gene in genes if gene.field == "ks"}
        super().__init__(largest, kernels, dropout, space.outputs)
        self.space, self.num_classes = space, num_classes
        self.arch = space.largest()

    def set_active(self, arch: Arch) -> None:
        """Makes `forward` run the sub-network `arch`. Raises InputError, naming the field, when it is not of the space."""
        self.active = self.space.layers(arch, self.num_classes)
        self.arch = arch

    def sample(self, rng: np.random.Generator) -> Arch:
        """Activates a random sub-network, drawn by `space.sample`, and returns its architecture."""
        arch = self.space.sample(rng)
        self.set_active(arch)
        return arch

    def extract(self, arch: Arch) -> Network:
        """A stand-alone network with copies of the weights that `arch` uses; the same logits in eval mode.

        It has this network's mode (training or eval) and shares no storage with it.
        """
        layers = self.space.layers(arch, self.num_classes)
        network = Network(layers, dropout=self.dropout, outputs=self.outputs, normalization=self.normalization)
        for layer in layers:
            network.parts[layer.name].load_state_dict(self.sliced(layer))
        return network.to(next(self.parameters()).device).train(self.training)


def build_supernet(space: Space, num_classes: int, dropout: float = 0.0) -> SuperNetwork:
    """The elastic super-network of a space, freshly initialised from torch's global generator.

    num_classes: outputs of the classifier. dropout: before the classifier, in training.
    """
    return SuperNetwork(space, num_classes, dropout)


def zero_residuals(net: Network) -> None:
    """Makes every residual block start as the identity: the scale of its last batch norm becomes 0.

    A deep network then starts as a shallow one, and leaving out a block changes little (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677, section 5.1). For networks trained from scratch.
    """
    for layer in net.active:
        part = net.parts[layer.name]
        if layer.residual and isinstance(part, Part) and part.last_norm is not None:
            nn.init.zeros_(part.last_norm.weight)
