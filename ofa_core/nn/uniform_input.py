"""Networks whose channels are normalised differently, in the form that files need."""

import torch

from ofa_core.nn.inputs import SYMMETRIC
from ofa_core.nn.network import Network
from ofa_core.space.layers import Layer


def with_uniform_input(network: Network) -> Network:
    """A network with one mean and one deviation for all channels, as files need it: itself, or a copy that begins with a layer.

    The copy takes pixel / 127.5 - 1. The change of scale is a 1x1 convolution before the first layer. It cannot be folded into
    the first convolution, because padding would then have the wrong value.
    """
    if network.normalization.uniform:
        return network
    eps, first = 1e-5, network.active[0]
    layer = Layer(name="normalization", kind="conv", inp=3, out=3, resolution=first.resolution, bn_eps=eps)
    longer = Network([layer, *network.active], dropout=network.dropout)
    mean, std = (torch.tensor(values).double() for values in network.normalization)
    [middle, *_], [reach, *_] = SYMMETRIC
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    added = {
        "conv.weight": (reach / std).diag()[:, :, None, None],  # (3, 3, 1, 1)
        "bn.weight": torch.full((3,), 1 + eps).sqrt(),
        "bn.bias": (middle - mean) / std,
        "bn.running_mean": torch.zeros(3),
        "bn.running_var": torch.ones(3),
    }
    part = longer.parts["normalization"].state_dict()
    names = {suffix: name for name in part for suffix in added if name.endswith(suffix)}
    state |= {f"parts.normalization.{names[suffix]}": tensor.to(torch.float32) for suffix, tensor in added.items()}
    longer.load_state_dict(state)
    return longer.train(network.training)
