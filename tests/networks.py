"""Tiny spaces and networks that tests share, random architectures, and the weights that an architecture uses."""

from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from ofa_core.nn import build_supernet
from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.network import SuperNetwork
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.mobile import FirstBlock, Head, MBTable, Stage, Stem
from ofa_core.space.registry import get_space

torch.set_num_threads(1)  # threads do not help such small maps, and on a busy machine they wait for each other

CLASSES = 5

ELASTIC = MBTable(
    width_mult=1.0,
    resolutions=(16, 20),
    bn_eps=1e-3,
    stem=Stem(widths=(8, 16), stride=2, act="relu6"),
    first=FirstBlock(widths=(8, 16), act="relu6", residual=True),
    stages=(
        Stage(widths=(16, 24), depths=(1, 2), kernel_sizes=(3,), expand_ratios=(1,), stride=1, act="relu6", se=False),
        Stage(widths=(16, 24), depths=(1, 3), kernel_sizes=(3, 5), expand_ratios=(1.5, 3), stride=2, act="h_swish", se=True),
    ),
    head=Head(expand_widths=(32,), mix_widths=(32, 48), act="h_swish"),
)
"""A table with elastic widths, a stage without expansion, and one width in one row."""

TINY = {
    "elastic_width": ELASTIC.space("elastic_width"),
    "ofa_mbv3": get_space("ofa_mbv3", 0.25, (32, 40)),
    "ofa_proxyless": get_space("ofa_proxyless", 0.25, (32, 40)),
    "ofa_small": get_space("ofa_small", 0.25, (20, 24)),
    "ofa_small_k7": get_space("ofa_small_k7", 0.25, (20, 24)),
    "ofa_small_se": get_space("ofa_small_se", 0.25, (20, 24)),
}
"""Fast enough for hundreds of forward passes."""

ALL = {**TINY, "ofa_resnet50": get_space("ofa_resnet50", resolutions=(32, 40))}
"""ofa_resnet50 has only one size, so it gets fewer examples."""


def examples(name: str, many: int) -> int:
    """Number of hypothesis examples for a space."""
    return 4 if name == "ofa_resnet50" else many


def random_net(space: Space, seed: int = 0) -> SuperNetwork:
    """A super-network in eval mode whose batch norms, biases and kernel matrices are far from their initial values."""
    torch.manual_seed(seed)
    net = build_supernet(space, CLASSES).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "matrix" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        for module in net.modules():
            if isinstance(module, BatchNorm):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.3, 1.0)
    return net


@cache
def shared_net(name: str) -> SuperNetwork:
    """One network per space, for tests that do not change its weights."""
    return random_net(ALL[name])


def images(resolution: int, batch: int = 2, seed: int = 0) -> Tensor:
    """Random images (batch, 3, resolution, resolution)."""
    return torch.randn(batch, 3, resolution, resolution, generator=torch.Generator().manual_seed(seed))


def archs(space: Space) -> st.SearchStrategy[Arch]:
    """Every architecture of a space; shrinks towards the smallest."""
    codes = st.tuples(*(st.integers(0, len(gene.choices) - 1) for gene in space.genes))
    return st.builds(
        lambda code, resolution: space.decode(np.array([code]), np.array([resolution]))[0],
        codes,
        st.sampled_from(space.resolutions),
    )


def logits(net: torch.nn.Module, arch: Arch, seed: int = 0) -> Tensor:
    """Logits (2, classes) of random images; for a super-network, those of `arch`."""
    if isinstance(net, SuperNetwork):
        net.set_active(arch)
    with torch.no_grad():
        return net(images(arch.r, seed=seed))


def relative_error(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest entry of `b`."""
    return float((a - b).abs().max() / b.abs().max())


def used(net: SuperNetwork, arch: Arch) -> dict[str, Tensor]:
    """For every weight of a super-network, a mask of the entries that `arch` may use, from the paper's rules."""
    active = {layer.name: layer for layer in net.space.layers(arch, net.num_classes)}
    masks = {}
    for name, tensor in net.state_dict().items():
        _, part, *path = name.split(".")
        mask, layer, leaf = torch.zeros_like(tensor, dtype=torch.bool), active.get(part), ".".join(path)
        masks[name] = mask
        if layer is None:
            continue
        if "matrix" in leaf:  # e.g. depthwise.matrix_5to3
            mask[:] = layer.kernel <= int(leaf[-1])
            continue
        inp, mid, out = layer.inp, layer.mid, layer.out
        sizes = {
            "expand": (mid, inp), "reduce": (mid, inp), "spatial": (mid, mid), "depthwise": (mid, 1),
            "project": (out, mid), "restore": (out, mid), "shortcut": (out, inp), "conv": (out, inp),
            "se.reduce": (layer.se, mid), "se.expand": (mid, layer.se),
        }  # fmt: skip
        module = ".".join(path[:2]) if path[0] == "se" else path[0]
        rows, columns = sizes.get(module, (out, inp))
        if tensor.dim() == 1:
            mask[:rows] = True
        elif module == "depthwise":
            # Both smaller kernels come from the centre 5x5 of a 7x7 one: the 3x3 uses all of the transformed 5x5.
            cut = 0 if layer.kernel == tensor.shape[-1] else 1
            mask[:rows, :, cut : tensor.shape[-1] - cut, cut : tensor.shape[-1] - cut] = True
        else:
            mask[:rows, :columns] = True
    return masks
