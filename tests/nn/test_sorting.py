import pytest
import torch
from hypothesis import given, settings

from ofa_core.nn.ordering import sorted_order
from ofa_core.nn.sorting import sort_channels, supported_forms
from ofa_core.space.arch import Arch
from tests.networks import ALL, TINY, archs, examples, logits, random_net, relative_error

names = pytest.mark.parametrize("name", sorted(ALL))


def unlike(space):
    """A network in which no two channels are alike, so no order of channels is right by chance."""
    net = random_net(space, seed=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    return net


def supporting(space, count):
    """The part of a space whose blocks have only their `count` largest expand ratios."""
    choices = {field: [list(gene.choices) for gene in space.genes if gene.field == field] for field in ("ks", "d", "w")}
    return space.with_choices(choices | {"e": [list(gene.choices[-count:]) for gene in space.genes if gene.field == "e"]})


def with_ratios(arch, part):
    """The architecture with every expand ratio that a part of its space lacks replaced by the part's largest."""
    allowed = [gene.choices for gene in part.genes if gene.field == "e"]
    ratios = [ratio if ratio in choices else choices[-1] for ratio, choices in zip(arch.e, allowed, strict=True)]
    return Arch(arch.ks, ratios, arch.d, arch.r, arch.w)


@names
@pytest.mark.parametrize("supported", [1, 2, 3])
def test_supported_subnetworks_keep_their_output(name, supported):
    """One supported ratio: the first expand phase, which sorts all channels. Two: the second, a nested sort."""
    space, part = ALL[name], supporting(ALL[name], supported)
    before, after = unlike(space), unlike(space)
    sort_channels(after, part)
    largest = space.largest()
    assert relative_error(logits(after, largest), logits(before, largest)) < 1e-5

    @settings(max_examples=examples(name, 10), deadline=None)
    @given(archs(space))
    def check(arch):
        arch = with_ratios(arch, part)
        assert relative_error(logits(after, arch), logits(before, arch)) < 1e-5

    check()


@names
def test_narrower_subnetworks_change(name):
    space = ALL[name]
    before, after = unlike(space), unlike(space)
    sort_channels(after, supporting(space, 1))
    narrow = space.smallest()
    assert relative_error(logits(after, narrow), logits(before, narrow)) > 1e-3


@pytest.mark.parametrize("name", sorted(set(TINY) - {"elastic_width"}))
def test_channels_are_sorted_inside_bands(name):
    space = TINY[name]
    net, part = unlike(space), supporting(space, 2)
    sort_channels(net, part)
    forms = supported_forms(part)
    for slot in space.slots:
        if not slot.genes:
            continue
        block, (narrow, wide) = net.parts[slot.name], list({layer.mid: layer for layer in forms[slot.name]}.values())
        importance = block.project.weight.detach().abs().sum(dim=(0, 2, 3))
        assert len(importance) == wide.mid > narrow.mid
        for band in (importance[: narrow.mid], importance[narrow.mid :]):
            assert (band.diff() <= 1e-6).all()
        if block.se is not None:
            squeezed = block.se.expand.weight.detach().abs().sum(dim=(0, 2, 3))
            for band in (squeezed[: narrow.se], squeezed[narrow.se :]):
                assert (band.diff() <= 1e-6).all()


def test_first_sort_is_global_and_brings_the_strongest_channels_into_the_narrow_block():
    net = unlike(TINY["ofa_small_se"])
    block = net.parts["block_3"]
    strongest = block.project.weight.detach().abs().sum(dim=(0, 2, 3)).topk(8).values
    sort_channels(net, TINY["ofa_small_se"].restrict({"e": [6]}))
    assert torch.allclose(block.project.weight.detach().abs().sum(dim=(0, 2, 3))[:8], strongest)


def test_sorting_again_changes_nothing():
    net, part = unlike(TINY["ofa_mbv3"]), TINY["ofa_mbv3"].restrict({"e": [4, 6]})
    sort_channels(net, part)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    sort_channels(net, part)
    assert all(torch.equal(state[key], tensor) for key, tensor in net.state_dict().items())


def test_order():
    importance = torch.tensor([1.0, 3.0, 2.0, 9.0, 9.0, 7.0])
    assert sorted_order(importance, [6]).tolist() == [3, 4, 5, 1, 2, 0]  # equal channels keep their order
    assert sorted_order(importance, [3, 6]).tolist() == [1, 2, 0, 3, 4, 5]
    assert sorted_order(importance, [2, 3, 6, 3]).tolist() == [1, 0, 2, 3, 4, 5]


def test_the_largest_network_must_be_supported():
    space = TINY["ofa_small_k7"]
    with pytest.raises(ValueError, match="supports: the largest network is not among those trained"):
        sort_channels(random_net(space), space.restrict({"e": [3, 4]}))
