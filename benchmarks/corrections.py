"""Two ways to prepare a network for integers, after Nagel et al. 2019 (https://arxiv.org/abs/1906.04721): do they help here?

Both return a changed copy of a stand-alone network that `export_network` takes like any other.
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
"""Most that a channel is amplified."""
CLIP = 6.0
"""Of ReLU6."""


@torch.no_grad()
def correct_biases(network: Network, x: Tensor) -> Network:
    """Bias correction (section 4.2): what rounding the weights adds to a channel's mean is taken off its bias.

    x: calibration images (n, 3, r, r). Means are measured, layer after layer: each convolution gets what the rounded and
    corrected ones before it compute, so it makes up for all of them. Activations are not rounded.
    """
    corrected, rounded = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    for part in _convolutions(rounded):
        # Scales are those of output channels, so batch norm's factor, which is folded in later, changes nothing.
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
    """Cross-layer equalisation (section 4.1) of expansions, in the one direction that leaves a ReLU6 network as it is.

    The paper evens out the weights of two layers, for weights with one scale a layer. Here each output channel has its own, so
    scaling it costs nothing, and the next layer is depthwise, whose every channel has its own as well. What is won is the
    activation between them, with one scale for all channels: each is amplified until its largest value on the images x
    (n, 3, r, r) is 6, at most `MOST` times, and the depthwise kernel divided. Larger values than any on x are clipped.
    Layers with other activations than ReLU6 stay as they are.
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
    """`what` of the output of a submodule, before its activation, when the part runs on x."""
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
