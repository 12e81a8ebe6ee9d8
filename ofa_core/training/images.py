"""The train and validation images as tensors: resized once per resolution, kept as uint8, augmented by the batch."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ofa_core.data.packed import load_split
from ofa_core.data.resize import resize, to_input


class Images:
    """One split in memory.

    path: the packed data set. split: train, val or test.
    """

    def __init__(self, path: Path, split: str) -> None:
        loaded = load_split(path, split)
        self.images, self.labels, self.classes = loaded.images, loaded.labels.astype(np.int64), loaded.classes
        self._resized: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, resolution: int) -> np.ndarray:
        """All images at a resolution, uint8 (N, r, r, C); computed at the first call and kept."""
        if resolution not in self._resized:
            self._resized[resolution] = resize(self.images, resolution)
        return self._resized[resolution]

    def batches(self, resolution: int, batch_size: int, indices: np.ndarray | None = None) -> list[tuple[Tensor, Tensor]]:
        """Batches of (x (B, 3, r, r), labels (B,)), in order: of the images of `indices`, or of all."""
        images, labels = self.at(resolution), self.labels
        if indices is not None:
            images, labels = images[indices], labels[indices]
        starts = range(0, len(labels), batch_size)
        return [(to_input(images[i : i + batch_size]), torch.from_numpy(labels[i : i + batch_size])) for i in starts]


def augment(images: np.ndarray, rng: np.random.Generator, max_shift: float, flip: bool) -> np.ndarray:
    """Random shift (edges repeat) and mirroring of each image of a batch, uint8 (B, r, r, C).

    max_shift: largest shift as a share of the side. flip: mirror each image with probability 1/2.
    """
    count, side = images.shape[:2]
    most = round(max_shift * side)
    positions = np.arange(side)
    shifts = rng.integers(-most, most + 1, size=(2, count, 1))
    rows, columns = np.clip(positions + shifts, 0, side - 1)  # each (B, r)
    if flip:
        mirrored = rng.random(count) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    return images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


class TrainStream:
    """Which images a step sees, as a function of the seed and the step alone: a resumed run sees what it would have seen.

    seed: numbers that tell runs apart. Every epoch is a permutation of the split; the last incomplete batch is left out.
    """

    def __init__(self, images: Images, batch_size: int, seed: list[int]) -> None:
        if len(images) < batch_size:
            raise ValueError(f"training.batch_size: {batch_size} is more than the {len(images)} train images")
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.steps_per_epoch = len(images) // batch_size
        self._epoch, self._order = -1, np.empty(0, dtype=int)

    def indices(self, step: int) -> np.ndarray:
        """Positions of the images of a step (B,)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([*self.seed, epoch]).permutation(len(self.images))
        return self._order[within * self.batch_size :][: self.batch_size]
