"""The purpose of a network, in one object: all that differs between classification and other tasks.

Export asks it for the agreement of two files, evaluation for scores, cards and commands for text. What training asks, of tasks
that networks are trained for, is in `trainable.py`. This folder needs only NumPy.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

Outputs = Mapping[str, np.ndarray]
"""What an exported file computes for n images, by the names in `Task.outputs`. n is the first dimension of every array."""
Labels = Any
"""What is right for n images, in the form that a packed data set has it. Each task says which."""


class Task(ABC):
    """One task. Its instances hold no state.

    Answers are outputs reduced to what scoring needs. They are small, so those of a whole split fit in memory.
    """

    name: ClassVar[str]
    """The value of `task` in manifest entries."""
    outputs: ClassVar[tuple[str, ...]]
    """Names of an exported file's output tensors, in the file's order."""
    scores: ClassVar[tuple[str, ...]]
    """Names of the scores of a file on a split. All are shares, 0..1. Candidates and gates compare the first.

    Of a task that says so, some may be None: nothing in the split is scored by them.
    """
    agreement_name: ClassVar[str]
    """Name of the share of images for which two files give the same answer."""

    @property
    def score_name(self) -> str:
        """Name of the score by which networks are chosen."""
        return self.scores[0]

    # ------------------------------------------------------------------------------------------------------------ files

    def named(self, *values: np.ndarray) -> Outputs:
        """A file's tensors by name. Raises InputError if there are more or fewer than `outputs`."""
        return dict(zip(self.outputs, values, strict=True))

    @abstractmethod
    def answers(self, outputs: Outputs) -> np.ndarray:
        """The answers (n, ...) for outputs of n images. Those of all batches are concatenated, then scored."""

    @abstractmethod
    def score(self, answers: np.ndarray, labels: Labels) -> dict[str, float]:
        """Every score in `scores` (0..1) of the answers (n, ...) for images with these labels, perhaps with details."""

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
