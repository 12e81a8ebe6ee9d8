import copy

import pytest
import torch

from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.recalibration import recalibrate
from tests.networks import ALL, TINY, images, random_net, relative_error, shared_net, used

names = pytest.mark.parametrize("name", sorted(TINY))


def statistics(net):
    return {key: buffer.clone() for key, buffer in net.named_buffers()}


def recalibrated(name, split, seed=0):
    net = random_net(TINY[name], seed=0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, BatchNorm):
                generator = torch.Generator().manual_seed(seed)
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) * 9 + 0.1)
    net.set_active(TINY[name].smallest())
    recalibrate(net, list(images(net.arch.r, batch=12).split(split)))
    return net


@names
def test_does_not_depend_on_the_split(name):
    one = statistics(recalibrated(name, 12))
    masks = used(shared_net(name), TINY[name].smallest())
    for split in (5, 1, [7, 1, 4]):
        other = statistics(recalibrated(name, split))
        for key, value in one.items():
            assert torch.allclose(value[masks[key]], other[key][masks[key]], rtol=1e-4, atol=1e-5), (key, split)


@names
def test_does_not_depend_on_previous_statistics_and_keeps_inactive_channels(name):
    a, b = recalibrated(name, 4, seed=1), recalibrated(name, 4, seed=2)
    masks = used(a, a.arch)
    for (key, first), second in zip(a.named_buffers(), b.buffers(), strict=True):
        assert torch.equal(first[masks[key]], second[masks[key]])
        assert not torch.equal(first[~masks[key]], second[~masks[key]]) or masks[key].all()


@pytest.mark.parametrize("name", sorted(ALL))
def test_equals_one_big_batch_in_training_mode(name):
    """In training a batch norm uses its batch's mean and biased variance. Recalibration takes both over all images."""
    net = random_net(ALL[name])
    net.set_active(ALL[name].smallest())
    x = images(net.arch.r, batch=8)
    recalibrate(net, [x[:3], x[3:]])
    assert not net.training
    with torch.no_grad():
        evaluated, trained = net(x), copy.deepcopy(net).train()(x)
    assert relative_error(evaluated, trained) < 1e-4


def test_extracted_network_is_recalibrated_alike():
    net = random_net(TINY["ofa_mbv3"])
    arch = TINY["ofa_mbv3"].smallest()
    sub = net.extract(arch)
    x = images(arch.r, batch=6)
    net.set_active(arch)
    recalibrate(net, [x])
    recalibrate(sub, [x[:2], x[2:]])
    with torch.no_grad():
        assert relative_error(sub(x), net(x)) < 1e-4


def test_leaves_weights_and_modules_as_they_were():
    net = random_net(TINY["ofa_mbv3"])
    before = {key: parameter.clone() for key, parameter in net.named_parameters()}
    batches = [images(40, batch=2, seed=seed) for seed in range(2)]
    copies = [batch.clone() for batch in batches]
    net.set_active(net.space.largest())
    recalibrate(net, batches)
    assert all(torch.equal(before[key], parameter) for key, parameter in net.named_parameters())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(batch, other) for batch, other in zip(batches, copies, strict=True))
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_needs_images():
    with pytest.raises(ValueError, match="no images"):
        recalibrate(random_net(TINY["ofa_small_k7"]), [])
