"""Two corrections before quantisation, from Nagel et al. 2019 (https://arxiv.org/abs/1906.04721), to test whether they help.

Both return a changed copy of a stand-alone network. `export_network` accepts it like any other network.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ofa_core.nn.elastic import ConvBN
from ofa_core.nn.mbconv import Depthwise
from ofa_core.nn.network import Network
from ofa_core.quantization.grid import quantize_weight

MOST = 16.0
"""Largest amplification of a channel."""
CLIP = 6.0
"""Upper limit of ReLU6."""


@torch.no_grad()
def correct_biases(network: Network, x: Tensor) -> Network:
    """Bias correction (section 4.2): subtracts from each bias the shift of the channel's mean caused by rounding the weights.

    x: calibration images (n, 3, r, r). Means are measured layer by layer. The input of each convolution comes from the rounded
    and corrected layers before it, so it corrects their errors too. Activations are not rounded.
    """
    corrected, rounded = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    for part in _convolutions(rounded):
        # Scales are per output channel, so folding in batch norm's factor later changes nothing.
        part.weight.copy_(quantize_weight(part.weight))
    exact, coarse = x, x
    for layer in network.active:
        source, target, result = (net.parts[layer.name] for net in (network, rounded, corrected))
        for name, part in source.named_modules():
            if isinstance(part, ConvBN | Depthwise):
                wanted, got = (_mean(module, name, layer, inputs) for module, inputs in ((source, exact), (target, coarse)))
                for module in (target, result):
                    module.get_submodule(name).bn.bias.add_(wanted - got)
        exact, coarse = source(exact, layer), target(coarse, layer)
    return corrected


@torch.no_grad()
def equalise(network: Network, x: Tensor) -> Network:
    """Cross-layer equalisation (section 4.1) of expansions, in the one direction that preserves a ReLU6 network.

    The paper equalises the weights of two layers when each layer has one scale. Here every output channel has its own scale, so
    scaling a channel costs nothing. The same holds for the next, depthwise layer. The gain is in the activation between them,
    which has one scale for all channels. Each channel is amplified until its largest value on the images x (n, 3, r, r) is 6,
    by at most `MOST`, and its depthwise kernel is divided by the same factor. Values larger than any on x are clipped. Layers
    without ReLU6 do not change.
    """
    changed = copy.deepcopy(network).eval()
    for layer in network.active:
        part, inputs = network.parts[layer.name], x
        if layer.kind == "mbconv" and layer.act == "relu6" and layer.mid != layer.inp:
            largest = _seen(part, "expand", layer, inputs, lambda y: y.amax((0, 2, 3)))  # (mid,)
            gain = (CLIP / largest.clamp(min=1e-6)).clamp(1, MOST)
            found = changed.parts[layer.name]
            found.expand.bn.weight.mul_(gain)
            found.expand.bn.bias.mul_(gain)
            found.depthwise.weight.div_(gain[:, None, None, None])
        x = part(x, layer)
    return changed


def _convolutions(network: nn.Module) -> Iterator[nn.Module]:
    return (part for part in network.modules() if isinstance(part, ConvBN | Depthwise))


def _mean(part: nn.Module, name: str, layer: object, x: Tensor) -> Tensor:
    return _seen(part, name, layer, x, lambda y: y.mean((0, 2, 3)))


def _seen(part: nn.Module, name: str, layer: object, x: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
    """`what` applied to the output of a submodule, before its activation, while the part runs on x."""
    found: list[Tensor] = []
    with _watched(part.get_submodule(name), lambda y: found.append(what(y))):
        part(x, layer)
    return found[0]


@contextmanager
def _watched(module: nn.Module, see: Callable[[Tensor], None]) -> Iterator[None]:
    hook = module.register_forward_hook(lambda module, inputs, output: see(output))
    try:
        yield
    finally:
        hook.remove()
