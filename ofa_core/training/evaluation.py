"""Scores of networks on a split, with batch norm statistics measured first."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from ofa_core.nn.folding import FoldedNetwork
from ofa_core.nn.inputs import Normalization, to_input
from ofa_core.nn.network import LayerModule, Network, SuperNetwork
from ofa_core.nn.recalibration import recalibrate
from ofa_core.run.memory import keep_freed_memory
from ofa_core.space.arch import Arch
from ofa_core.tasks.trainable import TrainableTask
from ofa_core.training.images import Batch, Batches, LabelledImages

EVAL_BATCH = 500
"""Most images per forward pass of an evaluation."""
PASS_PIXELS = 2**22
"""Most pixels per forward pass: 5,350 images of 28 pixels, 83 of 224. Networks of the spaces then use about 1.5 GB."""
KEPT_BYTES = 2 * 2**30
"""Most bytes of decoded images that an evaluator keeps: 12,000 images at 224 pixels."""


def use_threads(threads: int) -> None:
    """Sets torch's CPU threads; 0 is all cores. From here on, only deterministic algorithms are used, and memory is kept."""
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA needs for that
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True)
    # A debugging aid of that mode; it costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@torch.inference_mode()
def network_measures(net: LayerModule, batches: Sequence[Batch], task: TrainableTask) -> Mapping[str, float]:
    """A network's score (0..1) and mean loss by the task, on batches of pixels and labels. Sets eval mode."""
    device, net = _device(net), net.eval()
    run = FoldedNetwork(net) if isinstance(net, Network) else net
    return task.network_measures((run(_placed(pixels, net.normalization, device)), labels) for pixels, labels in batches)


def network_score(net: LayerModule, batches: Sequence[Batch], task: TrainableTask) -> float:
    """The score (0..1) of `network_measures`."""
    return network_measures(net, batches, task)[task.score_name]


def eval_batch(resolution: int) -> int:
    """Images per forward pass of an evaluation; results do not depend on it."""
    return min(EVAL_BATCH, PASS_PIXELS // resolution**2)


class Inputs(Sequence[Tensor]):
    """Images in chunks (B, 3, r, r) on a device. They become float when they are read, so few are at a time."""

    def __init__(self, batches: Batches, normalization: Normalization, device: torch.device) -> None:
        self.batches, self.normalization, self.device = batches, normalization, device

    def __len__(self) -> int:
        return len(self.batches)

    @overload
    def __getitem__(self, i: int) -> Tensor: ...
    @overload
    def __getitem__(self, i: slice) -> list[Tensor]: ...
    def __getitem__(self, i: int | slice) -> Tensor | list[Tensor]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return _placed(self.batches[i][0], self.normalization, self.device)

    def __iter__(self) -> Iterator[Tensor]:
        return (_placed(pixels, self.normalization, self.device) for pixels, _ in self.batches)

    def spread(self, count: int) -> "Inputs":
        """`count` of the images, evenly spaced; all if there are fewer."""
        return Inputs(self.batches.spread(count), self.normalization, self.device)


class Evaluator:
    """Validates sub-networks: statistics from the same train images, the task's score on the val split.

    train, val: the splits. bn_images: the number of train images for the statistics, drawn with `seed`; all if there are
    fewer.

    Images are decoded once a resolution, and kept as bytes up to `KEPT_BYTES`, the resolutions used last. So visit the
    networks of one resolution after the other. A split that is larger by itself is decoded for every network.
    """

    def __init__(self, train: LabelledImages, val: LabelledImages, bn_images: int, seed: int) -> None:
        self.train, self.val, count = train, val, min(bn_images, len(train))
        self.indices = np.sort(np.random.default_rng([seed, 1]).choice(len(train), count, replace=False))
        self._kept: dict[tuple[str, int], np.ndarray] = {}  # by split and resolution, in the order they were used

    def calibrate(self, net: Network, resolution: int) -> Inputs:
        """Recalibrates the batch norms of the active sub-network at a resolution; returns the images used."""
        images = Inputs(self._batches("train", resolution, PASS_PIXELS // resolution**2), net.normalization, _device(net))
        recalibrate(net, images)
        return images

    def subnet_score(self, net: SuperNetwork, arch: Arch) -> float:
        """The score (0..1) of a sub-network on val with its own statistics. Leaves it active and in eval mode."""
        return self.subnet_measures(net, arch)[self.val.task.score_name]

    def subnet_measures(self, net: SuperNetwork, arch: Arch) -> Mapping[str, float]:
        """As `subnet_score`: the score and the mean loss by name, as from `TrainableTask.network_measures`."""
        net.set_active(arch)
        self.calibrate(net, arch.r)
        return network_measures(net, self._val_batches(arch.r), self.val.task)

    def subnet_scores(self, net: SuperNetwork, archs: Mapping[str, Arch]) -> dict[str, float]:
        """The scores of named sub-networks, as from `subnet_score`."""
        return {name: self.subnet_score(net, arch) for name, arch in archs.items()}

    def score(self, net: LayerModule, resolution: int) -> float:
        """The score (0..1) of a network on val, with the statistics it has. Sets eval mode."""
        return network_score(net, self._val_batches(resolution), self.val.task)

    def _val_batches(self, resolution: int) -> Batches:
        return self._batches("val", resolution, eval_batch(resolution))

    def _batches(self, split: Literal["train", "val"], resolution: int, batch_size: int) -> Batches:
        images, indices = (self.train, self.indices) if split == "train" else (self.val, np.arange(len(self.val)))
        size = len(indices) * resolution**2 * images.images.shape[-1]  # bytes
        if size > KEPT_BYTES:
            return images.batches(resolution, batch_size, indices)
        pixels = self._kept.pop((split, resolution), None)
        if pixels is None:
            while self._kept and size + sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
            pixels = images.decoded(resolution, indices)
        self._kept[split, resolution] = pixels  # now the last to go
        return Batches(pixels, images.labels[indices], batch_size)


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


def _placed(pixels: Tensor, normalization: Normalization, device: torch.device) -> Tensor:
    """Inputs (B, 3, r, r) on a device, in the memory format fastest for convolutions, of pixels uint8 (B, r, r, C)."""
    return to_input(pixels.to(device), normalization).contiguous(memory_format=torch.channels_last)
