"""What training and export ask of a task about its networks, besides what `task.py` says about finished files.

Methods that take tensors import torch when they are called.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ofa_core.tasks.task import Outputs, Task

if TYPE_CHECKING:
    from torch import Tensor


class TrainableTask(Task):
    """A task that networks are trained for, in torch."""

    loss_name: ClassVar[str]
    """Name of the loss. It says more about a network than its score, where few answers differ between networks."""

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
