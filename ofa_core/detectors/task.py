"""Detection as training asks for it: SSD's losses, and the average precision of networks on a split."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from torch import Tensor

from ofa_core.detection.metrics import Found, coco_metrics
from ofa_core.detection.postprocess import PostprocessSettings, postprocess
from ofa_core.detectors.loss import NEGATIVES_PER_POSITIVE, SoftTargets, Targets, soft_ssd_loss, ssd_loss
from ofa_core.images.boxes import BoxSplit
from ofa_core.run.errors import InputError
from ofa_core.space.detector import BOXES, CLASS_LOGITS
from ofa_core.tasks.detection import CLASSES, COUNT, EMPTY, SCORES, Detection
from ofa_core.tasks.task import Outputs
from ofa_core.tasks.trainable import TrainableTask

Anchors = Callable[[int], np.ndarray]
"""By resolution in pixels: float32 (A, 4) y, x, h, w."""
NetOutputs = Mapping[str, Tensor]
"""A detector's outputs in training, by point: encodings (b, A, 4) and logits (b, A, C)."""


class SSDTask(Detection, TrainableTask):
    """Detection on one split. Unlike other tasks it knows the split: labels of a batch are the numbers of its images.

    anchors: of the detectors, at the `resolutions` that they may have. settings: how detections are chosen.
    """

    loss_name = "ssd_loss"

    def __init__(self, truth: BoxSplit, anchors: Anchors, resolutions: Sequence[int], settings: PostprocessSettings) -> None:
        self.truth, self.anchors, self.settings = truth, cache(anchors), settings
        # Equal grids have equal anchors, so the number of rows says which.
        self.of_count = {len(self.anchors(resolution)): self.anchors(resolution) for resolution in resolutions}

    def loss(self, outputs: NetOutputs, labels: Targets, label_smoothing: float) -> Tensor:  # type: ignore[override]
        """SSD's loss against the targets of the anchors, a scalar."""
        return ssd_loss(outputs[BOXES], outputs[CLASS_LOGITS], labels, label_smoothing)

    def soft_targets(self, outputs: NetOutputs) -> SoftTargets:  # type: ignore[override]
        """Scores and encodings."""
        return SoftTargets(outputs[CLASS_LOGITS].sigmoid(), outputs[BOXES])

    def distillation_loss(self, outputs: NetOutputs, soft: SoftTargets) -> Tensor:  # type: ignore[override]
        """The loss against a teacher with the same anchors, so at the same resolution."""
        return soft_ssd_loss(outputs[BOXES], outputs[CLASS_LOGITS], soft)

    def loss_of_guessing(self, classes: int) -> float:
        """Classification of a match and its negatives by scores of 0.5; a bound for the spikes of training."""
        return (1 + NEGATIVES_PER_POSITIVE) * classes * math.log(2)

    def network_measures(  # type: ignore[override]
        self, batches: Iterable[tuple[NetOutputs, Tensor]]
    ) -> dict[str, float]:
        """map (0..1) on the images of the split, all of which the batches must hold in order. There is no loss of a split."""
        found = [one for outputs, _ in batches for one in self.detections(outputs)]
        if len(found) != len(self.truth.boxes):
            raise InputError(f"images: {len(found)}; the split has {len(self.truth.boxes)}")
        return {self.score_name: coco_metrics(self.truth, found)[self.score_name] or 0.0}

    def detections(self, outputs: NetOutputs) -> list[Found]:
        """What a network's outputs say is in each image."""
        codes, scores = outputs[BOXES].float().cpu().numpy(), outputs[CLASS_LOGITS].float().sigmoid().cpu().numpy()
        anchors = self.of_count[codes.shape[1]]
        return [postprocess(box, score, anchors, self.settings) for box, score in zip(codes, scores, strict=True)]

    def finished(self, outputs: NetOutputs) -> Outputs:  # type: ignore[override]
        """What the operator at the end of a file makes of a network's outputs."""
        rows = self.settings.max_detections
        found = self.detections(outputs)
        boxes, scores = np.zeros((len(found), rows, 4), np.float32), np.zeros((len(found), rows), np.float32)
        classes = np.full((len(found), rows), EMPTY, np.float32)
        for i, one in enumerate(found):
            boxes[i, : len(one.boxes)], classes[i, : len(one.labels)], scores[i, : len(one.scores)] = one
        count = np.array([len(one.boxes) for one in found], np.float32)
        return {BOXES: boxes, CLASSES: classes, SCORES: scores, COUNT: count}

    def class_count(self, channels: Sequence[int]) -> int:
        """The number of values in a row of the last layer."""
        return channels[-1]
