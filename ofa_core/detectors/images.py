"""Images with boxes for training and validation of detectors: the counterpart of `images.py`."""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ofa_core.detection.coding import encode
from ofa_core.detection.matching import Matcher
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detectors.augment import View, draw_view, seen
from ofa_core.detectors.loss import Targets
from ofa_core.detectors.task import Anchors, SSDTask
from ofa_core.images.boxes import BoxSplit
from ofa_core.images.resize import resize
from ofa_core.nn.inputs import Normalization, normalize
from ofa_core.training.augment import colour, resample
from ofa_core.training.images import AtResolution, Batches, Stream
from ofa_core.training.params import TrainingParams


class BoxImages:
    """One split with boxes, for detectors of the `resolutions`. anchors, settings: as in `SSDTask`."""

    def __init__(self, split: BoxSplit, anchors: Anchors, resolutions: Sequence[int], settings: PostprocessSettings) -> None:
        self.task = SSDTask(split, anchors, resolutions, settings)
        self.split, self.classes, self.images = split, split.classes, split.images
        self.labels = np.arange(len(split.images))
        """The images' numbers: the task looks up what is in them."""
        self.anchors, self.matcher = self.task.anchors, cache(lambda resolution: Matcher(self.anchors(resolution)))

    def __len__(self) -> int:
        return len(self.images)

    def stream(self, batch_size: int, seed: list[int], rank: int = 0, size: int = 1) -> "BoxStream":
        """Its images in the steps of a training."""
        return BoxStream(self, batch_size, seed, rank, size)

    def decoded(self, resolution: int, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` (n,) at a resolution, uint8 (n, r, r, C)."""
        return resize(self.images[indices], resolution)

    def batches(self, resolution: int, batch_size: int, indices: np.ndarray | None = None) -> Batches:
        """The images at `indices`, or all, in order."""
        return Batches(resize(self.images, resolution), self.labels, batch_size, indices)

    def targets(self, resolution: int, index: int, view: View) -> tuple[np.ndarray, np.ndarray]:
        """What each anchor is to predict in a view of an image: classes int64 (A,) and encodings float32 (A, 4)."""
        boxes, kept = seen(self.split.boxes[index], view, self.images.shape[1])
        labels, crowd = self.split.labels[index][kept], self.split.crowd[index][kept]
        matches = self.matcher(resolution).match(boxes, crowd)
        classes, codes = matches.copy(), np.zeros((len(matches), 4), np.float32)
        found = np.flatnonzero(matches >= 0)
        classes[found] = labels[matches[found]]
        codes[found] = encode(boxes[matches[found]], self.anchors(resolution)[found])
        return classes, codes


class BoxStream(Stream):
    """The steps of `BoxImages`, with the `Targets` of the anchors at a resolution."""

    def __init__(self, images: BoxImages, batch_size: int, seed: list[int], rank: int = 0, size: int = 1) -> None:
        super().__init__(len(images), batch_size, seed, rank, size)
        self.images = images

    def parts(
        self, step: int, shared: TrainingParams, device: torch.device, normalization: Normalization
    ) -> Iterator[tuple[AtResolution, AtResolution]]:
        side = self.images.images.shape[1]
        for i, indices in enumerate(np.array_split(self.indices(step), shared.accumulate)):
            seed = self.part_seed(step, i, shared.accumulate)
            rng = np.random.default_rng(seed)
            boxes = self.images.split.boxes
            views = [draw_view(rng, boxes[k], side, shared.crops, shared.flip) for k in indices]
            mirrored = torch.tensor([view.mirrored for view in views])
            crops, colours = np.array([view.crop for view in views]), int(rng.integers(2**63))
            pixels = torch.from_numpy(self.images.images[indices])

            @cache
            def images(
                resolution: int, pixels: Tensor = pixels, crops: np.ndarray = crops, mirrored: Tensor = mirrored,
                colours: int = colours,
            ) -> Tensor:  # fmt: skip
                x = resample(pixels.to(device), crops, resolution)  # (b, C, r, r)
                x = torch.where(mirrored.to(device)[:, None, None, None], x.flip(3), x)
                x = colour(x, np.random.default_rng(colours), shared.brightness, shared.saturation)
                return normalize(x, normalization).contiguous(memory_format=torch.channels_last)

            @cache
            def targets(resolution: int, indices: np.ndarray = indices, views: list[View] = views) -> Targets:
                found = [self.images.targets(resolution, k, view) for k, view in zip(indices, views, strict=True)]
                classes, codes = (torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*found, strict=True))
                return Targets(classes, codes)

            yield images, targets
