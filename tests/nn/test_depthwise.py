"""The depthwise convolution with the fast gradient equals torch's own, forward and backward."""

import pytest
import torch
import torch.nn.functional as F

from ofa_core.nn.depthwise import depthwise_conv


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 10])
def test_equals_torch(side: int, kernel: int, stride: int, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, side, side, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.randn(16, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=16)
    found = depthwise_conv(x, weight, stride)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, weight), gradient)
    for a, b in zip(torch.autograd.grad(found, (x, weight), gradient), wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_input_without_gradient() -> None:
    x, weight = torch.randn(2, 8, 7, 7), torch.randn(8, 1, 5, 5, requires_grad=True)
    depthwise_conv(x, weight, 1).sum().backward()
    expected = weight.detach().clone().requires_grad_()
    F.conv2d(x, expected, padding=2, groups=8).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, expected.grad)
