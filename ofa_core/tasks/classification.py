"""Classification: one label per image, one vector of probabilities out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa_core.tasks.task import Outputs
from ofa_core.tasks.trainable import TrainableTask

if TYPE_CHECKING:
    from torch import Tensor

PROBABILITIES = "probabilities"
RANKS = 5
"""Number of most probable classes kept per image: those that top-5 accuracy counts and that are shown."""


class Classification(TrainableTask):
    """Labels (n,) are indices of classes. Networks give logits (n, classes), files probabilities (n, classes).

    Answers (n, 5) are the most probable classes, best first; all of them if there are fewer. Classes with equal probabilities,
    common in 8-bit outputs, keep the order of the classes.
    """

    name = "classification"
    outputs = (PROBABILITIES,)
    scores = ("top1", "top5", "balanced_top1")
    loss_name = "cross_entropy"
    agreement_name = "same_top1"

    def loss(self, outputs: "Tensor", labels: "Tensor", label_smoothing: float) -> "Tensor":
        """Cross entropy of logits (b, classes) against labels (b,). `label_smoothing` is spread over all classes."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing)

    def soft_targets(self, outputs: "Tensor") -> "Tensor":
        """Probabilities (b, classes)."""
        return outputs.softmax(1)

    def distillation_loss(self, outputs: "Tensor", soft: "Tensor") -> "Tensor":
        """Cross entropy of logits against a teacher's probabilities, both (b, classes)."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, soft)

    def loss_of_guessing(self, classes: int) -> float:
        """Cross entropy of equal probabilities."""
        return math.log(classes)

    def network_measures(self, batches: Iterable[tuple["Tensor", "Tensor"]]) -> dict[str, float]:
        """Share of images for which the label has the largest logit, and the mean cross entropy of logits against labels."""
        from torch.nn import functional

        right, loss, count = 0, 0.0, 0
        for logits, labels in batches:
            found = logits.float().cpu()
            right += int((found.argmax(1) == labels).sum())
            loss += float(functional.cross_entropy(found, labels, reduction="none").double().sum())
            count += len(labels)
        return {"top1": right / count, self.loss_name: loss / count}

    def finished(self, outputs: "Tensor") -> Outputs:
        """Probabilities (n, classes) float32 of logits (n, classes)."""
        return {PROBABILITIES: outputs.softmax(1).numpy()}

    def class_count(self, channels: Sequence[int]) -> int:
        """The width of the last layer."""
        return channels[-1]

    def answers(self, outputs: Outputs) -> np.ndarray:
        """The most probable classes (n, 5)."""
        return np.argsort(-outputs[PROBABILITIES], axis=1, kind="stable")[:, :RANKS]

    def score(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """top1 and top5: the share of images whose label is the most probable class, or among the five most probable.

        balanced_top1: the mean of the classes' top-1, so that each class counts the same however many images it has.
        """
        right = answers == labels[:, None]  # (n, 5)
        of_classes = [right[labels == label, 0].mean() for label in np.unique(labels)]
        return {
            "top1": float(right[:, 0].mean()),
            "top5": float(right.any(1).mean()),
            "balanced_top1": round(float(np.mean(of_classes)), 12),  # as short as a share of images
        }

    def correct(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether the most probable class is the label."""
        return answers[:, 0] == labels

    def agreement(self, a: np.ndarray, b: np.ndarray) -> float:
        """The share of images with the same most probable class."""
        return float((a[:, 0] == b[:, 0]).mean())

    def report(self, outputs: Outputs, labels: Sequence[str]) -> dict[str, Any]:
        """top: the most probable classes of an image, best first, each with index, label and probability (0..1)."""
        [probabilities], [best] = outputs[PROBABILITIES], self.answers(outputs)
        return {"top": [{"index": int(i), "label": labels[i], "probability": float(probabilities[i])} for i in best]}

    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """Probability and label of each class."""
        return [f"{row['probability']:7.2%}  {row['label']}" for row in report["top"]]
