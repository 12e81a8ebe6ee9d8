import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ofa_core.nn import build_supernet
from ofa_core.nn.batchnorm import BatchNorm
from ofa_core.nn.network import SuperNetwork, zero_residuals
from ofa_core.nn.official import load_official
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space
from tests.conftest import shared_data
from tests.networks import ALL, CLASSES, TINY, archs, examples, images, logits, random_net, relative_error, shared_net, used

names = pytest.mark.parametrize("name", sorted(ALL))

# ------------------------------------------------------------------------------------ equal to the published networks


def parity(kind):
    """(super-network with the published layout's weights, its data, {resolution: (images, logits, architectures)})."""
    data = json.loads(shared_data(f"parity/{kind}/archs.json").read_text())
    net = build_supernet(get_space(f"ofa_{data['kind']}", data.get("width_mult")), data["n_classes"]).eval()
    load_official(net, shared_data(f"parity/{kind}/checkpoint.pth"))
    io, cases = np.load(shared_data(f"parity/{kind}/io.npz")), {}
    for resolution in data.get("resolutions", [data["resolution"]]):
        suffix = "" if resolution == data["resolution"] else f"_{resolution}"
        x, y = torch.from_numpy(io[f"x{suffix}"]), torch.from_numpy(io[f"y{suffix}"])
        cases[resolution] = (x, y, [Arch.from_dict(fields | {"r": resolution}) for fields in data["archs"]])
    return net, cases


@pytest.mark.parametrize("kind", ["mbv3_w025", "proxyless_w025", "resnet50"])
def test_logits_are_the_published_ones(kind):
    net, cases = parity(kind)
    with torch.no_grad():
        for x, recorded, architectures in cases.values():
            assert len(recorded) == len(architectures)
            for arch, y in zip(architectures, recorded, strict=True):
                net.set_active(arch)
                assert relative_error(net(x), y) < 1e-4, arch
        for x, recorded, architectures in list(cases.values())[:1]:
            for arch, y in zip(architectures, recorded, strict=True):
                assert relative_error(net.extract(arch)(x), y) < 1e-4, arch


# ------------------------------------------------------------------------------------------------ active and extracted


@names
def test_extracted_is_active(name):
    net = shared_net(name)

    @settings(max_examples=examples(name, 15), deadline=None)
    @given(archs(ALL[name]))
    def check(arch):
        assert relative_error(logits(net.extract(arch), arch), logits(net, arch)) < 1e-5

    check()


@names
def test_extracted_shares_no_storage(name):
    net, space = shared_net(name), ALL[name]
    arch = space.largest()  # its slices are whole tensors, the easiest to share by mistake
    sub = net.extract(arch)
    mine = {tensor.untyped_storage().data_ptr() for tensor in net.state_dict().values()}
    theirs = [tensor.untyped_storage().data_ptr() for tensor in sub.state_dict().values()]
    assert not mine & set(theirs)
    assert len(set(theirs)) == len(theirs)
    assert {layer.name for layer in sub.active} == set(sub.parts)


def test_extracted_is_a_plain_network():
    net = shared_net("ofa_mbv3")
    arch = net.space.smallest()
    sub = net.extract(arch)
    assert not isinstance(sub, SuperNetwork)
    assert not any("matrix" in name for name in sub.state_dict())
    assert not sub.training
    assert net.train().extract(arch).training
    net.eval()


@names
def test_foreign_architecture_is_refused_and_changes_nothing(name):
    net, space = shared_net(name), ALL[name]
    net.set_active(space.smallest())
    before = net.active
    wrong = space.smallest(resolution=34)
    for action in (net.set_active, net.extract):
        with pytest.raises(ValueError, match="r: 34"):
            action(wrong)
    assert net.active is before
    assert net.arch == space.smallest()


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    net = build_supernet(TINY["ofa_small_k7"], CLASSES, dropout=0.5)
    x = images(20)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


# --------------------------------------------------------------------------------------------- prefixes and gradients


@names
def test_smaller_choices_touch_only_their_prefix(name):
    """Kernel, width and depth: weights outside a sub-network can be anything."""
    space = ALL[name]

    @settings(max_examples=examples(name, 10), deadline=None)
    @given(archs(space))
    def check(arch):
        net = shared_net(name)
        before, saved = logits(net, arch), {key: tensor.clone() for key, tensor in net.state_dict().items()}
        changed = 0
        for key, mask in used(net, arch).items():
            tensor = net.state_dict()[key]
            tensor[~mask] = float("nan")
            changed += int((~mask).sum())
        after = logits(net, arch)
        net.load_state_dict(saved)
        assert changed > 0 or arch.e == space.largest().e
        assert torch.equal(before, after)

    check()


@names
def test_every_weight_of_the_prefix_counts(name):
    """The mask of the test above is not too large: each of its tensors changes the logits."""
    net, space = shared_net(name), ALL[name]
    rng = np.random.default_rng(1)
    arch = space.sample(rng)
    before = logits(net, arch)
    for key, mask in used(net, arch).items():
        if mask.any():
            tensor = net.state_dict()[key]
            saved = tensor.clone()
            tensor[mask] += torch.rand(int(mask.sum()))
            assert not torch.equal(before, logits(net, arch)), key
            tensor.copy_(saved)


@names
def test_gradients_and_statistics_flow_only_into_active_parts(name):
    space = ALL[name]
    net = random_net(space)

    @settings(max_examples=examples(name, 10), deadline=None)
    @given(archs(space))
    def check(arch):
        net.train().set_active(arch)
        net.zero_grad(set_to_none=True)
        before = {key: tensor.clone() for key, tensor in net.named_buffers()}
        net(images(arch.r)).square().sum().backward()
        masks = used(net, arch)
        for key, parameter in net.named_parameters():
            if parameter.grad is None:
                assert not masks[key].any(), f"{key} got no gradient"
            else:
                assert not parameter.grad[~masks[key]].any(), f"{key} got a gradient outside"
                assert masks[key].any(), f"{key} is not active"
        for key, buffer in net.named_buffers():
            moved = buffer != before[key]
            assert not moved[~masks[key]].any(), f"{key} moved outside"
            assert moved[masks[key]].float().mean() > 0.5 or not masks[key].any(), f"{key} did not move"

    check()


def test_a_smaller_kernel_starts_as_the_centre_of_the_larger():
    net = build_supernet(TINY["ofa_small_k7"], CLASSES)
    depthwise = net.parts["block_1"].depthwise
    assert depthwise.weight.shape[2:] == (7, 7)
    assert torch.equal(depthwise.kernel_weight(5, 8), depthwise.weight[:8, :, 1:6, 1:6])
    assert torch.equal(depthwise.kernel_weight(3, 8), depthwise.weight[:8, :, 2:5, 2:5])


@names
def test_zeroed_residuals_make_depth_irrelevant(name):
    net = random_net(ALL[name])
    shallow = ALL[name].smallest()
    deep = replace(shallow, d=(shallow.d[0], *ALL[name].largest().d[1:]))  # ofa_resnet50's first is its stem's
    assert relative_error(logits(net, deep), logits(net, shallow)) > 1e-3
    net.active = ALL[name].layers(ALL[name].largest(), CLASSES)
    zero_residuals(net)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, BatchNorm):  # their shifts, too, are 0 in a fresh network
                module.bias.zero_()
    assert torch.equal(logits(net, deep), logits(net, shallow))


def test_kernels_are_transformed_in_a_chain():
    """The 3x3 kernel comes from the transformed 5x5 one, as in the published code."""
    depthwise = shared_net("ofa_small_k7").parts["block_1"].depthwise
    five = depthwise.weight[:8, 0, 1:6, 1:6].reshape(8, 25) @ depthwise.matrix_7to5.T
    three = five.view(8, 5, 5)[:, 1:4, 1:4].reshape(8, 9) @ depthwise.matrix_5to3.T
    assert torch.allclose(depthwise.kernel_weight(5, 8).view(8, 25), five, atol=1e-6)
    assert torch.allclose(depthwise.kernel_weight(3, 8).view(8, 9), three, atol=1e-6)
    assert sum(m.numel() for m in (depthwise.matrix_7to5, depthwise.matrix_5to3)) == 706  # section 3.4 of the paper


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(TINY)).flatmap(lambda name: st.tuples(st.just(name), archs(TINY[name]), archs(TINY[name]))))
def test_active_architectures_do_not_depend_on_what_was_active_before(case):
    name, first, second = case
    net = shared_net(name)
    expected = logits(net, first)
    logits(net, second)
    assert torch.equal(logits(net, first), expected)
