"""Scores of networks on a split, with batch norm statistics measured first."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ofa_core.nn.network import Network, SuperNetwork
from ofa_core.nn.recalibration import recalibrate
from ofa_core.space.arch import Arch
from ofa_core.tasks.task import Task
from ofa_core.training.images import Images

EVAL_BATCH = 500
"""Images per forward pass; results do not depend on it."""


def use_threads(threads: int) -> None:
    """Sets torch's CPU threads; 0 is all cores. Only deterministic algorithms are used from here on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA needs for that
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True)
    # A debugging aid of that mode; it costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@torch.inference_mode()
def network_measures(net: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], task: Task) -> Mapping[str, float]:
    """A network's score (0..1) and mean loss by the task, on (x (B, 3, r, r), labels (B,)) batches. Sets eval mode."""
    net.eval()
    return task.network_measures((net(_placed(x, net)), labels) for x, labels in batches)


def network_score(net: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], task: Task) -> float:
    """The score (0..1) of `network_measures`."""
    return network_measures(net, batches, task)[task.score_name]


class Evaluator:
    """Validates sub-networks: statistics from the same train images, the task's score on the val split.

    train, val: the splits. bn_images: the number of train images for the statistics, drawn with `seed`; all if there are
    fewer. Batches are cached by resolution.
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

    def subnet_score(self, net: SuperNetwork, arch: Arch) -> float:
        """The score (0..1) of a sub-network on val with its own statistics. Leaves it active and in eval mode."""
        return self.subnet_measures(net, arch)[self.val.task.score_name]

    def subnet_measures(self, net: SuperNetwork, arch: Arch) -> Mapping[str, float]:
        """As `subnet_score`: the score and the mean loss by name, as from `Task.network_measures`."""
        net.set_active(arch)
        self.calibrate(net, arch.r)
        return network_measures(net, self.val_batches(arch.r), self.val.task)

    def score(self, net: nn.Module, resolution: int) -> float:
        """The score (0..1) of a network on val, with the statistics it has. Sets eval mode."""
        return network_score(net, self.val_batches(resolution), self.val.task)

    def val_batches(self, resolution: int) -> Sequence[tuple[Tensor, Tensor]]:
        """The val split as (x (B, 3, r, r), labels (B,))."""
        if resolution not in self._val_batches:
            self._val_batches[resolution] = self.val.batches(resolution, EVAL_BATCH)
        return self._val_batches[resolution]


def _placed(x: Tensor, net: nn.Module) -> Tensor:
    """Moves images to the network's device, in the memory format fastest for convolutions."""
    return x.to(next(net.parameters()).device).contiguous(memory_format=torch.channels_last)
