"""What a network is made for, in one object: all that differs between classification and other tasks.

Training asks it for losses, export how far two files agree, evaluation for scores, cards and commands for what a person reads.
This folder needs NumPy alone. Methods that take tensors import torch when they are called.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Outputs = Mapping[str, np.ndarray]
"""What a finished file computes for n images, by the names in `Task.outputs`; n is the first dimension of every array."""


class Task(ABC):
    """One task. Its instances hold no state.

    Labels are what the packed data set has for the images. Answers are what remains of outputs to be scored: they are small, so
    those of a whole split fit in memory.
    """

    name: ClassVar[str]
    """As manifest entries have it under `task`."""
    outputs: ClassVar[tuple[str, ...]]
    """Names of the tensors that an exported file gives, in the file's order."""
    scores: ClassVar[tuple[str, ...]]
    """Names of the scores of a file on a split. All are shares, 0..1. Candidates and gates compare the first."""
    agreement_name: ClassVar[str]
    """Name of the share of images for which two files give the same answer."""

    @property
    def score_name(self) -> str:
        """Name of the score by which networks are chosen."""
        return self.scores[0]

    # ----------------------------------------------------------------------------------------------- networks, in torch

    @abstractmethod
    def loss(self, outputs: "Tensor", labels: "Tensor", label_smoothing: float) -> "Tensor":
        """The loss of a batch, a scalar: of what a network gives in training against the labels."""

    @abstractmethod
    def soft_targets(self, outputs: "Tensor") -> "Tensor":
        """What a teacher's outputs tell a student. Has no gradient if `outputs` has none."""

    @abstractmethod
    def distillation_loss(self, outputs: "Tensor", soft: "Tensor") -> "Tensor":
        """The loss of a batch, a scalar, against the `soft_targets` of a teacher."""

    @abstractmethod
    def loss_of_guessing(self, classes: int) -> float:
        """The loss of a network that has learnt nothing. A spike of the loss in training lies above it."""

    @abstractmethod
    def network_score(self, batches: Iterable[tuple["Tensor", "Tensor"]]) -> float:
        """The score (0..1) of a network from pairs of its outputs and the labels, one pair a batch, each read once."""

    @abstractmethod
    def finished(self, outputs: "Tensor") -> Outputs:
        """What exported files compute, from what the network gives."""

    @abstractmethod
    def class_count(self, channels: Sequence[int]) -> int:
        """How many classes a network tells apart. channels: the output channels of its layers, in order."""

    # ------------------------------------------------------------------------------------------------------------ files

    def named(self, *values: np.ndarray) -> Outputs:
        """A file's tensors by their names. Raises ValueError when there are more or fewer than `outputs`."""
        return dict(zip(self.outputs, values, strict=True))

    @abstractmethod
    def answers(self, outputs: Outputs) -> np.ndarray:
        """What outputs of n images come to (n, ...). Answers of many batches are concatenated, then scored."""

    @abstractmethod
    def score(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Every score in `scores` (0..1) of the answers (n, ...) to images with these labels."""

    @abstractmethod
    def agreement(self, a: np.ndarray, b: np.ndarray) -> float:
        """The share of images with equal answers. a, b: answers (n, ...)."""

    def compare(self, a: Outputs, b: Outputs) -> dict[str, float]:
        """How far float outputs agree: largest_difference of a value, and the share of images under `agreement_name`."""
        difference = max(float(np.abs(a[name] - b[name]).max()) for name in self.outputs)
        return {"largest_difference": difference, self.agreement_name: self.agreement(self.answers(a), self.answers(b))}

    def compare_steps(self, a: Outputs, b: Outputs) -> dict[str, float]:
        """How far integer outputs agree. a, b: in steps of the outputs' scales, zero at the zero point.

        The share of images under `agreement_name`. same_values: share of output values, of those that are not 0 in both.
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
        """Whether a metric of a manifest entry is a share (0..1), to be shown in percent: its name contains that of a score."""
        return any(f"_{score}_" in f"_{metric}_" for score in self.scores)

    def summary(self, scores: Mapping[str, float]) -> str:
        """The scores of a file in one line."""
        return ", ".join(f"{name} {scores[name]:.2%}" for name in self.scores)

    @abstractmethod
    def report(self, outputs: Outputs, labels: Sequence[str]) -> dict[str, Any]:
        """What was found in one image, as JSON values. outputs: of that image, n is 1. labels: names of the classes."""

    @abstractmethod
    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """A `report` for people, a line for each thing that was found."""


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of batches as those of all their images, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
