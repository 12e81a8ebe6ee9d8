"""RMSProp against TensorFlow's own kernel."""

import numpy as np
import torch
from torch import nn

from ofa_core.convert.tensorflow import tf
from ofa_core.detectors.rmsprop import DECAY, EPSILON, MOMENTUM, RMSProp


def test_steps_are_those_of_tensorflow() -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    parameter = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = RMSProp([{"params": [parameter], "weight_decay": 0.0}])
    var, mean_square, momentum = (tf.Variable(value) for value in (start, np.ones(5, np.float32), np.zeros(5, np.float32)))
    for i, gradient in enumerate(gradients):
        rate = 0.1 / (i + 1)
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        tf.raw_ops.ResourceApplyRMSProp(
            var=var.handle, ms=mean_square.handle, mom=momentum.handle, lr=rate, rho=DECAY, momentum=MOMENTUM,
            epsilon=EPSILON, grad=gradient,
        )  # fmt: skip
        np.testing.assert_allclose(parameter.detach().numpy(), var.numpy(), rtol=1e-5)
    assert np.abs(parameter.detach().numpy() - start).max() > 0.05


def test_weight_decay_is_added_to_the_gradient() -> None:
    one, two = (nn.Parameter(torch.tensor([2.0])) for _ in range(2))
    for parameter, decay, gradient in ((one, 0.5, 1.0), (two, 0.0, 2.0)):
        optimizer = RMSProp([{"params": [parameter], "weight_decay": decay}])
        optimizer.param_groups[0]["lr"] = 0.1
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    assert torch.equal(one, two)
