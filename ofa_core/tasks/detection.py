"""Detection: boxes, each with a class and a score, for an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ofa_core.detection.matching import iou
from ofa_core.detection.metrics import Found, Truth, coco_metrics, ovic_map
from ofa_core.tasks.task import Outputs, Task

BOXES, CLASSES, SCORES, COUNT = "boxes", "classes", "scores", "count"
EMPTY = -1
"""The class of a row of answers that is no detection."""
SAME = 0.5
"""IoU from which two files show the same object."""


class Detection(Task):
    """Labels are an `images.boxes.BoxSplit`, or anything with the boxes, labels, crowds, sizes and classes of `metrics.Truth`.

    Files give boxes (n, k, 4), ymin, xmin, ymax, xmax as shares of the image, not clipped; classes (n, k) from 0; scores
    (n, k); count (n,), how many of the k rows are detections. Rows after the count mean nothing: some kernels leave there what
    they found in the image before.

    Answers (n, k, 6) are box, class and score of each row; class -1 and zeros after the count. Scores of a split may be None:
    map_small, for instance, where it has no small object.
    """

    name = "detection"
    outputs = (BOXES, CLASSES, SCORES, COUNT)
    scores = ("map", "ap50", "ap75", "map_small", "map_medium", "map_large", "ovic_map")
    agreement_name = "same_best_box"

    def answers(self, outputs: Outputs) -> np.ndarray:
        """Box, class and score (n, k, 6) float32."""
        rows = np.concatenate([outputs[BOXES], outputs[CLASSES][..., None], outputs[SCORES][..., None]], axis=-1)
        unused = np.arange(rows.shape[1]) >= outputs[COUNT].reshape(-1, 1)  # (n, k)
        return np.where(unused[..., None], np.array([0, 0, 0, 0, EMPTY, 0], np.float32), rows)

    def found(self, answers: np.ndarray) -> list[Found]:
        """What the answers (n, k, 6) say is in each of the n images."""
        used = [rows[rows[:, 4] != EMPTY] for rows in answers]
        return [Found(rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5]) for rows in used]

    def score(self, answers: np.ndarray, labels: Truth) -> dict[str, Any]:
        """COCO's average precisions (0..1), also by class, and ovic_map, that of the challenges; see `detection.metrics`.

        Some may be None. Needs pycocotools.
        """
        found = self.found(answers)
        return coco_metrics(labels, found) | {"ovic_map": ovic_map(labels, found)}

    def agreement(self, a: np.ndarray, b: np.ndarray) -> float:
        """The share of images whose best detections are of one class and overlap with an IoU of 0.5, or that have none."""
        best, other = a[:, 0], b[:, 0]  # (n, 6)
        overlaps = np.array([iou(x[None, :4], y[None, :4]).item() for x, y in zip(best, other, strict=True)])
        same = (best[:, 4] == other[:, 4]) & ((overlaps >= SAME) | (best[:, 4] == EMPTY))
        return float(same.mean())

    def compare(self, a: Outputs, b: Outputs) -> dict[str, float]:
        """As `Task.compare`, without the rows after the count."""
        x, y = self.answers(a), self.answers(b)
        return {"largest_difference": float(np.abs(x - y).max()), self.agreement_name: self.agreement(x, y)}

    def summary(self, scores: Mapping[str, Any]) -> str:
        """Every score; "none" where nothing in the split is scored by it."""
        return ", ".join(f"{name} {'none' if scores[name] is None else f'{scores[name]:.2%}'}" for name in self.scores)

    def report(self, outputs: Outputs, labels: Sequence[str]) -> dict[str, Any]:
        """boxes: the detections in an image, best first, each with index, label and score (0..1) of the class, and box.

        box: ymin, xmin, ymax, xmax as shares (0..1) of the image's height and width, perhaps partly outside of it.
        """
        [found] = self.found(self.answers(outputs))
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        return {"boxes": [{"index": i, "label": labels[i], "score": score, "box": box} for i, score, box in rows]}

    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """Score, ymin, xmin, ymax, xmax and label of each detection."""
        return [
            f"{row['score']:7.2%}  {' '.join(f'{side:6.3f}' for side in row['box'])}  {row['label']}" for row in report["boxes"]
        ]
