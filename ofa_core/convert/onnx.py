"""ONNX files, straight from torch, without anything that differs between machines or processes."""

import copy
import io
import logging
import warnings
from contextlib import redirect_stdout

import onnx
import torch
from torch import Tensor, nn

from ofa_core.nn.network import Network
from ofa_core.run.errors import InputError

OPSET = 18
WEIGHTS = "network.parts."
"""The exporter's prefix of every weight name."""


class _Probabilities(nn.Module):
    """The network with softmax at its end."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, r, r) -> (B, classes)
        return torch.softmax(self.network(image), dim=1)


class _Ends(nn.Module):
    """A network with several outputs, in their order."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # (B, 3, r, r)
        return tuple(self.network(image).values())


def export_onnx(network: Network, resolution: int) -> bytes:
    """An ONNX file: `image` (1, 3, r, r) float32, normalised, in; `probabilities` (1, classes) out, as in the TFLite files.
    A network with named outputs, such as a detector, has these instead: boxes (1, A, 4) and classes (1, A, C).

    Exports in eval mode and leaves the network unchanged. Raises InputError for weights that are not finite or a
    resolution other than that of the network's layer list.
    """
    if network.active[0].resolution != resolution:
        raise InputError(f"resolution: {resolution}, the network is made for {network.active[0].resolution}")
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"{name}: holds values that are not finite")
    ends, names = (_Ends, list(network.outputs)) if network.outputs else (_Probabilities, ["probabilities"])
    module = ends(copy.deepcopy(network).cpu()).eval().requires_grad_(False)
    image = torch.zeros(1, 3, resolution, resolution)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(module, (image,), input_names=["image"], output_names=names,
                                        opset_version=OPSET, dynamo=True, verbose=False)  # fmt: skip
        finally:
            logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _strip(model: onnx.ModelProto) -> None:
    """Removes stack traces, source paths and versions of the exporter; weights get the network's names, nodes their layers'."""
    model.producer_name, model.producer_version, model.doc_string = "ofa_core", "", ""
    graph = model.graph
    graph.name, graph.doc_string = "network", ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.doc_string = ""
        value.name = value.name.removeprefix(WEIGHTS)
        del value.metadata_props[:]
    for i, node in enumerate(graph.node):
        weight = next((name for name in node.input if name.startswith(WEIGHTS) and name.endswith(".weight")), None)
        layer = weight.removeprefix(WEIGHTS).removesuffix(".weight") if weight else node.op_type.lower()
        node.name, node.doc_string = f"{i}.{layer}", ""
        node.input[:] = [name.removeprefix(WEIGHTS) for name in node.input]
        del node.metadata_props[:]
