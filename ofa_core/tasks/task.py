"""The purpose of a network, in one object: all that differs between classification and other tasks.

Training asks it for losses, export for the agreement of two files, evaluation for scores, cards and commands for text.
This folder needs only NumPy. Methods that take tensors import torch when they are called.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Outputs = Mapping[str, np.ndarray]
"""What an exported file computes for n images, by the names in `Task.outputs`. n is the first dimension of every array."""


class Task(ABC):
    """One task. Its instances hold no state.

    Labels are what the packed data set has for the images. Answers are outputs reduced to what scoring needs. They are small,
    so those of a whole split fit in memory.
    """

    name: ClassVar[str]
    """The value of `task` in manifest entries."""
    outputs: ClassVar[tuple[str, ...]]
    """Names of an exported file's output tensors, in the file's order."""
    scores: ClassVar[tuple[str, ...]]
    """Names of the scores of a file on a split. All are shares, 0..1. Candidates and gates compare the first."""
    loss_name: ClassVar[str]
    """Name of the loss. It says more about a network than its score, where few answers differ between networks."""
    agreement_name: ClassVar[str]
    """Name of the share of images for which two files give the same answer."""

    @property
    def score_name(self) -> str:
        """Name of the score by which networks are chosen."""
        return self.scores[0]

    # ----------------------------------------------------------------------------------------------- networks, in torch

    @abstractmethod
    def loss(self, outputs: "Tensor", labels: "Tensor", label_smoothing: float) -> "Tensor":
        """The loss of a batch, a scalar: outputs of a network in training against the labels."""

    @abstractmethod
    def soft_targets(self, outputs: "Tensor") -> "Tensor":
        """A teacher's outputs as targets for a student. Has no gradient if `outputs` has none."""

    @abstractmethod
    def distillation_loss(self, outputs: "Tensor", soft: "Tensor") -> "Tensor":
        """The loss of a batch, a scalar, against the `soft_targets` of a teacher."""

    @abstractmethod
    def loss_of_guessing(self, classes: int) -> float:
        """The loss of a network that has learnt nothing. A loss below it is never treated as a spike."""

    @abstractmethod
    def network_measures(self, batches: Iterable[tuple["Tensor", "Tensor"]]) -> Mapping[str, float]:
        """The score (0..1) of a network under `score_name`, and its mean loss in nats under `loss_name`.

        batches: pairs of outputs and labels, one pair per batch, each read once.
        """

    def network_score(self, batches: Iterable[tuple["Tensor", "Tensor"]]) -> float:
        """The score (0..1) of `network_measures`."""
        return self.network_measures(batches)[self.score_name]

    @abstractmethod
    def finished(self, outputs: "Tensor") -> Outputs:
        """The outputs of exported files, from those of the network."""

    @abstractmethod
    def class_count(self, channels: Sequence[int]) -> int:
        """The number of classes of a network. channels: the output channels of its layers, in order."""

    # ------------------------------------------------------------------------------------------------------------ files

    def named(self, *values: np.ndarray) -> Outputs:
        """A file's tensors by name. Raises InputError if there are more or fewer than `outputs`."""
        return dict(zip(self.outputs, values, strict=True))

    @abstractmethod
    def answers(self, outputs: Outputs) -> np.ndarray:
        """The answers (n, ...) for outputs of n images. Those of all batches are concatenated, then scored."""

    @abstractmethod
    def score(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Every score in `scores` (0..1) of the answers (n, ...) for images with these labels."""

    @abstractmethod
    def correct(self, answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether each answer is right, bool (n,). Where the first of `scores` is a share of images, this is its mean."""

    @abstractmethod
    def agreement(self, a: np.ndarray, b: np.ndarray) -> float:
        """The share of images with equal answers. a, b: answers (n, ...)."""

    def compare(self, a: Outputs, b: Outputs) -> dict[str, float]:
        """How far float outputs agree: largest_difference of a value, and under `agreement_name` the share of images."""
        difference = max(float(np.abs(a[name] - b[name]).max()) for name in self.outputs)
        return {"largest_difference": difference, self.agreement_name: self.agreement(self.answers(a), self.answers(b))}

    def compare_steps(self, a: Outputs, b: Outputs) -> dict[str, float]:
        """How far integer outputs agree. a, b: in steps of the outputs' scales, zero at the zero point.

        Under `agreement_name`: the share of images. same_values: share of equal values among those that are not 0 in both.
        largest_steps: the largest difference.
        """
        x, y = (np.concatenate([outputs[name].reshape(-1) for name in self.outputs]) for outputs in (a, b))
        return {
            self.agreement_name: self.agreement(self.answers(a), self.answers(b)),
            "same_values": float((x == y)[(x != 0) | (y != 0)].mean()),
            "largest_steps": float(np.abs(x - y).max()),
        }

    # ----------------------------------------------------------------------------------------------------------- people

    def is_share(self, metric: str) -> bool:
        """Whether a metric of a manifest entry is a share (0..1), shown in percent: its name contains that of a score."""
        return any(f"_{score}_" in f"_{metric}_" for score in self.scores)

    def summary(self, scores: Mapping[str, float]) -> str:
        """The scores of a file in one line."""
        return ", ".join(f"{name} {scores[name]:.2%}" for name in self.scores)

    @abstractmethod
    def report(self, outputs: Outputs, labels: Sequence[str]) -> dict[str, Any]:
        """The result for one image, as JSON values. outputs: of that image, n is 1. labels: names of the classes."""

    @abstractmethod
    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """A `report` as text, one line per finding."""


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of batches, joined in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
