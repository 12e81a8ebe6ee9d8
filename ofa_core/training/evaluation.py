"""Accuracy of networks on a split, with batch norm statistics measured first."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ofa_core.nn.network import Network, SuperNetwork
from ofa_core.nn.recalibration import recalibrate
from ofa_core.space.arch import Arch
from ofa_core.training.images import Images

EVAL_BATCH = 500
"""Images per forward pass; results do not depend on it."""


def use_threads(threads: int) -> None:
    """Sets torch's CPU threads; 0 is all cores. Only deterministic algorithms are used from here on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA needs for that
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True)
    # A debugging aid of that mode, which costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@torch.inference_mode()
def top1(net: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Share of images (0..1) whose largest logit is their label's; batches of (x (B, 3, r, r), labels (B,)). Sets eval mode."""
    net.eval()
    right = count = 0
    for x, labels in batches:  # once: they may be read from disk
        right += int((net(_placed(x, net)).argmax(1).cpu() == labels).sum())
        count += len(labels)
    return right / count


class Evaluator:
    """Validation of sub-networks: statistics from the same train images, accuracy on the val split.

    train, val: the splits. bn_images: how many train images the statistics come from, drawn with `seed`; all where there are
    fewer. Batches are kept per resolution.
    """

    def __init__(self, train: Images, val: Images, bn_images: int, seed: int) -> None:
        self.train, self.val, count = train, val, min(bn_images, len(train))
        self.indices = np.sort(np.random.default_rng([seed, 1]).choice(len(train), count, replace=False))
        self._val_batches: dict[int, Sequence[tuple[Tensor, Tensor]]] = {}

    def calibrate(self, net: Network, resolution: int) -> Tensor:
        """Recalibrates the batch norms of the active sub-network at a resolution; returns the images used (n, 3, r, r)."""
        [(x, _)] = self.train.batches(resolution, len(self.indices), self.indices)
        x = _placed(x, net)
        recalibrate(net, [x])
        return x

    def top1(self, net: SuperNetwork, arch: Arch) -> float:
        """Validation top-1 (0..1) of a sub-network with its own statistics. Leaves it active and in eval mode."""
        net.set_active(arch)
        self.calibrate(net, arch.r)
        return top1(net, self.val_batches(arch.r))

    def val_batches(self, resolution: int) -> Sequence[tuple[Tensor, Tensor]]:
        """The val split as (x (B, 3, r, r), labels (B,))."""
        if resolution not in self._val_batches:
            self._val_batches[resolution] = self.val.batches(resolution, EVAL_BATCH)
        return self._val_batches[resolution]


def _placed(x: Tensor, net: nn.Module) -> Tensor:
    """The images where the network is, in the memory format that convolutions are fastest with."""
    return x.to(next(net.parameters()).device).contiguous(memory_format=torch.channels_last)
