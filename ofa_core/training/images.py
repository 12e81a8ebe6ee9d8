"""Batches of train and validation images. Small sets are in memory as uint8; large sets are read from shards."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import torch
from torch import Tensor

from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize
from ofa_core.images.shards import Shards
from ofa_core.nn.inputs import Normalization
from ofa_core.run.errors import InputError
from ofa_core.tasks.registry import get_task
from ofa_core.tasks.trainable import TrainableTask
from ofa_core.training.augment import augment
from ofa_core.training.params import TrainingParams

AHEAD = 4
"""Number of steps whose images are read ahead from shards."""

AtResolution = Callable[[int], Any]
"""By resolution in pixels: images (b, 3, r, r), or what they are to be."""
Batch = tuple[Tensor, Tensor]
"""Pixels uint8 (B, r, r, C) and labels (B,)."""


class Images:
    """One split.

    path: the packed data set. split: train, val or test. task: what its labels are for.
    """

    def __init__(self, path: Path, split: str) -> None:
        self.task = get_task("classification")
        loaded = load_split(path, split)
        self.images, self.labels, self.classes = loaded.images, loaded.labels.astype(np.int64), loaded.classes
        self._resized: dict[int, np.ndarray | Shards] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, resolution: int) -> np.ndarray | Shards:
        """All images at a resolution, uint8 (N, r, r, C). Computed at the first call and kept, or in shards."""
        if resolution not in self._resized:
            images = self.images
            self._resized[resolution] = images.resized(resolution) if isinstance(images, Shards) else resize(images, resolution)
        return self._resized[resolution]

    def decoded(self, resolution: int, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` (n,) at a resolution, uint8 (n, r, r, C) in memory."""
        if isinstance(self.images, Shards):
            return self.images.resized(resolution)[indices]
        return resize(self.images[indices], resolution)

    def stream(self, batch_size: int, seed: list[int], rank: int = 0, size: int = 1) -> "TrainStream":
        """Its images in the steps of a training; see `TrainStream`."""
        return TrainStream(self, batch_size, seed, rank, size)

    def batches(self, resolution: int, batch_size: int, indices: np.ndarray | None = None) -> "Batches":
        """The images at `indices`, or all, in order. Images in shards are decoded whenever they are read."""
        return Batches(self.at(resolution), self.labels, batch_size, indices)


class Batches(Sequence[Batch]):
    """Images in batches, made when they are read. If they are in shards, the next batch is read in other threads meanwhile.

    images: uint8 (N, r, r, C). labels: (N,). indices: which of them, in which order; by default all.
    """

    def __init__(
        self, images: np.ndarray | Shards, labels: np.ndarray, batch_size: int, indices: np.ndarray | None = None
    ) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.indices = np.arange(len(labels)) if indices is None else indices
        self.parts = [self.indices[i : i + batch_size] for i in range(0, len(self.indices), batch_size)]

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, i: int) -> Batch: ...
    @overload
    def __getitem__(self, i: slice) -> list[Batch]: ...
    def __getitem__(self, i: int | slice) -> Batch | list[Batch]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return self._batch(self.parts[i], self.images[self.parts[i]])

    def __iter__(self) -> Iterator[Batch]:
        if not isinstance(self.images, Shards):
            yield from (self[i] for i in range(len(self)))
            return
        following = [self.images.begin(part) for part in self.parts[:1]]
        for i, part in enumerate(self.parts):
            [pixels] = following
            following = [self.images.begin(later) for later in self.parts[i + 1 : i + 2]]
            yield self._batch(part, pixels())

    def spread(self, count: int) -> "Batches":
        """`count` of the images, evenly spaced; all if there are fewer."""
        places = np.linspace(0, len(self.indices) - 1, min(count, len(self.indices))).astype(int)
        return Batches(self.images, self.labels, self.batch_size, self.indices[places])

    def _batch(self, indices: np.ndarray, pixels: np.ndarray) -> Batch:
        return torch.from_numpy(pixels), torch.from_numpy(self.labels[indices])


class Stream(ABC):
    """The images of each step. They depend only on the seed and the step, so a resumed run sees the same images.

    count: images of the split. batch_size: images per step. This process, number `rank` of `size`, sees an equal share of them.
    seed: numbers that identify the run. Every epoch is a permutation of the split without the last incomplete batch.
    """

    def __init__(self, count: int, batch_size: int, seed: list[int], rank: int = 0, size: int = 1) -> None:
        if count < batch_size:
            raise InputError(f"training.batch_size: {batch_size} is more than the {count} train images")
        self.count, self.batch_size, self.seed, self.rank, self.share = count, batch_size, seed, rank, batch_size // size
        self.steps_per_epoch = count // batch_size
        self._epoch, self._order = -1, np.empty(0, dtype=int)

    def indices(self, step: int) -> np.ndarray:
        """Indices (b,) of the images of a step that this process sees."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([*self.seed, epoch]).permutation(self.count)
        return self._order[within * self.batch_size + self.rank * self.share :][: self.share]

    def part_seed(self, step: int, i: int, parts: int) -> tuple[int, ...]:
        """Numbers that identify part i of the `parts` of a step in this process. Seeds torch's generator, for dropout."""
        seed = (*self.seed, 1, step, self.rank * parts + i)
        torch.manual_seed(int(np.random.default_rng([*seed, 1]).integers(2**63)))
        return seed

    @abstractmethod
    def parts(
        self, step: int, shared: TrainingParams, device: torch.device, normalization: Normalization
    ) -> Iterator[tuple[AtResolution, AtResolution]]:
        """The parts of a step that this process computes, `shared.accumulate` of them: augmented images (b, 3, r, r), and what
        the task's loss takes for them.

        A part is augmented in the same way at every resolution. Seeds dropout for each part.
        """


class LabelledImages(Protocol):
    """What training and evaluation need of a split: `Images`, or `detectors.images.BoxImages`."""

    @property
    def task(self) -> TrainableTask:
        """What its labels are for."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def images(self) -> np.ndarray | Shards:
        """uint8 (N, H, W, C)."""

    @property
    def labels(self) -> np.ndarray:
        """(N,), as the task takes them."""

    def __len__(self) -> int: ...

    def stream(self, batch_size: int, seed: list[int], rank: int = 0, size: int = 1) -> Stream:
        """Its images in the steps of a training."""

    def decoded(self, resolution: int, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` (n,) at a resolution, uint8 (n, r, r, C) in memory."""

    def batches(self, resolution: int, batch_size: int, indices: np.ndarray | None = None) -> "Batches":
        """The images at `indices`, or all, in order."""


class TrainStream(Stream):
    """The steps of `Images`, with labels (b,)."""

    def __init__(self, images: Images, batch_size: int, seed: list[int], rank: int = 0, size: int = 1) -> None:
        super().__init__(len(images), batch_size, seed, rank, size)
        self.images = images
        self._reading: dict[int, Callable[[], np.ndarray]] = {}

    def parts(
        self, step: int, shared: TrainingParams, device: torch.device, normalization: Normalization
    ) -> Iterator[tuple[AtResolution, AtResolution]]:
        labels = torch.from_numpy(self.images.labels[self.indices(step)]).to(device).chunk(shared.accumulate)
        for i, of_part in enumerate(labels):
            seed = self.part_seed(step, i, shared.accumulate)

            @cache
            def images(resolution: int, i: int = i, seed: tuple[int, ...] = seed) -> Tensor:
                pixels = self.pixels(step, resolution, shared.crops).chunk(shared.accumulate)[i]
                return augment(pixels, np.random.default_rng(seed), shared, resolution, device, normalization)

            def unchanged(resolution: int, of_part: Tensor = of_part) -> Tensor:
                return of_part

            yield images, unchanged

    def pixels(self, step: int, resolution: int, cropped: bool) -> Tensor:
        """The images of a step for `augment`, uint8 (b, H, W, C).

        cropped: returns them as stored, for random crops. Otherwise images in memory are resized to the resolution.
        Meanwhile, the images of the following steps are read from shards.
        """
        source = self.images.images
        if not isinstance(source, Shards):
            return torch.from_numpy((source if cropped else self.images.at(resolution))[self.indices(step)])
        following = range(step, step + AHEAD + 1)
        self._reading = {later: self._reading.get(later) or source.begin(self.indices(later)) for later in following}
        return torch.from_numpy(self._reading[step]())
