"""What the sub-networks of a step learn from: labels, soft targets or both, by their role in the step.

The sandwich rule of BigNAS (https://arxiv.org/abs/2003.11142, section 3.1) trains the largest, the smallest and random ones in
between. Its in-place distillation lets the largest learn from labels, and teach the others. Once-for-All has random ones only,
each with labels and the soft targets of the fixed full network (https://arxiv.org/abs/1908.09791, section 3.4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ofa_core.nn.network import LayerModule, Network
from ofa_core.space.layers import Layer
from ofa_core.tasks.trainable import TrainableTask
from ofa_core.training.params import Role


class Subnet(NamedTuple):
    """One sub-network of a step: its layers and its role. A network that trains alone is the largest."""

    layers: list[Layer]
    role: Role = "largest"

    @property
    def resolution(self) -> int:
        """Pixels of its input images."""
        return self.layers[0].resolution


class Weights(NamedTuple):
    """Weights of the two losses of a role, 0 or more."""

    labels: float
    soft: float


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of a step: for every sub-network, labels * (loss on labels) + soft * (distillation loss).

    weights: by role. teacher: where soft targets come from: a fixed network in eval mode; "largest", the step's own largest
    sub-network, which the sampler puts first; None if all weights of soft targets are 0.
    mean: whether gradients are divided by the number of sub-networks; otherwise they are summed.
    label_smoothing, dropout: of the roles in `regularised`; other roles have none.
    """

    weights: Mapping[Role, Weights]
    teacher: Network | Literal["largest"] | None = None
    mean: bool = False
    label_smoothing: float = 0.0
    dropout: float = 0.0
    regularised: frozenset[Role] = frozenset({"largest", "middle", "smallest"})

    @classmethod
    def alone(cls, label_smoothing: float, dropout: float, teacher: Network | None = None, soft: float = 0.0) -> "Objective":
        """For one network: labels with weight 1 and, with a teacher, its soft targets with weight `soft`."""
        weights: Mapping[Role, Weights] = {"largest": Weights(1.0, 0.0 if teacher is None else soft)}
        return cls(weights=weights, teacher=teacher, label_smoothing=label_smoothing, dropout=dropout)

    def backward(
        self,
        net: LayerModule,
        subnets: Sequence[Subnet],
        images: Callable[[int], Tensor],
        labels: Callable[[int], Any],
        task: TrainableTask,
        share: float = 1.0,
        half_precision: bool = False,
    ) -> Tensor:
        """Adds `share` of the gradients of all sub-networks to those in `net`. Returns that share of their mean loss, a scalar.

        images: the batch (B, 3, r, r) at a resolution r. labels: what the task's loss takes for them there, such as (B,).
        half_precision: computes in bfloat16 where it is safe.
        A fixed teacher sees the images at the largest resolution of the step, once.
        """
        device = next(net.parameters()).device
        soft, total = None, torch.zeros((), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half_precision):
            if isinstance(self.teacher, Network) and any(self.weights[subnet.role].soft for subnet in subnets):
                with torch.no_grad():
                    outputs = self.teacher(images(max(subnet.resolution for subnet in subnets)))
                    soft = task.soft_targets(_widened(outputs))
            for subnet in subnets:
                weights, regularised = self.weights[subnet.role], subnet.role in self.regularised
                net.active = subnet.layers
                net.dropout = self.dropout if regularised else 0.0
                outputs = _widened(net(images(subnet.resolution)))
                if self.teacher == "largest" and subnet.role == "largest":
                    soft = task.soft_targets(_mapped(outputs, Tensor.detach))
                loss = torch.zeros((), device=device)
                if weights.labels:
                    smoothing = self.label_smoothing if regularised else 0.0
                    loss = loss + weights.labels * task.loss(outputs, labels(subnet.resolution), smoothing)
                if weights.soft:
                    assert soft is not None  # a weight needs a teacher, and the sampler puts the largest first
                    loss = loss + weights.soft * task.distillation_loss(outputs, soft)
                (share / len(subnets) * loss if self.mean else share * loss).backward()
                total += loss.detach()
        return share * total / len(subnets)


def _widened(outputs: Any) -> Any:
    """Losses are computed in 32 bits or more."""
    return _mapped(outputs, lambda x: x.float() if x.dtype == torch.bfloat16 else x)


def _mapped(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Changed outputs of a network: one tensor, or several by name."""
    return {name: change(x) for name, x in outputs.items()} if isinstance(outputs, dict) else change(outputs)
