"""RMSProp as TensorFlow has it, with which published SSD detectors were trained.

tf.train.RMSPropOptimizer (tensorflow/core/kernels/training_ops.cc, ApplyRMSProp): epsilon is inside the root, and the mean
square starts at 1. torch.optim.RMSprop adds epsilon outside, and starts at 0, so its first steps are many times as long. The
constants are those of TensorFlow's ssd_mobilenet_v2_coco.config.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ofa_core.training.loop import decayed
from ofa_core.training.params import TrainingParams

DECAY, MOMENTUM, EPSILON = 0.9, 0.9, 1.0


class RMSProp(torch.optim.Optimizer):
    """Steps by the mean square of gradients, with momentum. groups: as torch's optimizers take them."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step for all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean_square"], state["momentum"] = torch.ones_like(parameter), torch.zeros_like(parameter)
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                state["mean_square"].mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)
                scaled = gradient / (state["mean_square"] + EPSILON).sqrt()
                state["momentum"].mul_(MOMENTUM).add_(scaled, alpha=group["lr"])
                parameter.sub_(state["momentum"])


def rmsprop(net: nn.Module, shared: TrainingParams) -> torch.optim.Optimizer:
    """RMSProp for a network, with the weight decay of `shared`."""
    return RMSProp(decayed(net, shared))
