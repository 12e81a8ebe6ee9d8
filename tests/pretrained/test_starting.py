"""Weights to start from, whatever they are: one file, from which a super-network and its normalisation can be loaded."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ofa_core.nn import build_supernet, load_official
from ofa_core.nn.inputs import IMAGENET, SYMMETRIC
from ofa_core.nn.weights import describe, save_weights, transfer
from ofa_core.pretrained.names import check_start
from ofa_core.pretrained.published import SUPERNETS
from ofa_core.pretrained.starting import provide
from ofa_core.run.errors import InputError
from ofa_core.space.registry import get_space
from tests.conftest import shared_data
from tests.networks import random_net


def test_a_published_checkpoint_and_an_own_file(tmp_path: Path) -> None:
    """The logits of the published super-network, whose pixels were normalised by ImageNet's statistics."""
    checkpoint, space = shared_data("parity/mbv3_w025/checkpoint.pth"), get_space("ofa_mbv3", 0.25, (128,))
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    provide(str(checkpoint), space, first)
    provide(str(first), space, second)
    assert second.read_bytes() == first.read_bytes()
    expected, found = build_supernet(space, 10).eval(), build_supernet(space, 10).eval()
    load_official(expected, checkpoint)
    transfer(second, found)
    assert found.normalization == IMAGENET
    x = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for arch in (space.largest(), space.smallest()):
        expected.set_active(arch)
        found.set_active(arch)
        with torch.no_grad():
            torch.testing.assert_close(found(x), expected(x), rtol=0, atol=0)


def test_a_published_super_network_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is downloaded, and only the weights remain. A wrong checksum leaves nothing."""
    checkpoint, space = shared_data("parity/mbv3_w025/checkpoint.pth"), get_space("ofa_mbv3", 0.25, (128,))
    name = "ofa_mbv3_d234_e346_k357_w1.0"
    row = replace(SUPERNETS[name], base=f"{checkpoint.parent.as_uri()}/", file=checkpoint.name, width_mult=0.25)
    monkeypatch.setitem(SUPERNETS, name, row)
    path, same = tmp_path / "out/weights.safetensors", tmp_path / "same.safetensors"
    path.parent.mkdir()
    provide(name, space, path)
    provide(str(checkpoint), space, same)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == same.read_bytes()
    monkeypatch.setitem(SUPERNETS, name, replace(row, sha256="0" * 64))
    with pytest.raises(InputError, match=r"checkpoint\.pth: SHA-256 [0-9a-f]{64} is not the published 0000"):
        provide(name, space, tmp_path / "other.safetensors")
    assert {file.name for file in tmp_path.iterdir()} == {"out", "same.safetensors"}


def test_a_super_network_of_this_pipeline_keeps_its_normalisation(tmp_path: Path) -> None:
    space = get_space("ofa_small", 0.5, (24,))
    net = random_net(space)
    for normalization in (SYMMETRIC, IMAGENET):
        net.normalization = normalization
        path = tmp_path / "net.safetensors"
        save_weights(path, net, describe(net, space))
        other = build_supernet(space, net.num_classes)
        transfer(path, other)
        assert other.normalization == normalization
        assert other.extract(space.smallest()).normalization == normalization


@pytest.mark.parametrize(
    ("init", "space", "message"),
    [
        ("efficientnet_lite9", "ofa_lite", "init: 'efficientnet_lite9' is not one of efficientnet_lite0, "),
        ("efficientnet_lite0", "ofa_small", "init: efficientnet_lite0 starts networks of space.name ofa_lite, width_mult 1"),
        ("efficientnet_lite1", "ofa_lite", "starts networks of space.name ofa_lite1"),
        ("ofa_mbv3_d234_e346_k357_w1.2", "ofa_mbv3", r"ofa_mbv3, width_mult 1\.2; the space is ofa_mbv3, width_mult 1$"),
        ("ofa_mbv3_d234_e346_k357_w1.4", "ofa_mbv3", "is not one of .*ofa_proxyless_d234_e346_k357_w1.3, nor a path"),
    ],
)
def test_names_that_do_not_fit(init: str, space: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        check_start(init, get_space(space))
    with pytest.raises(InputError, match=message):
        provide(init, get_space(space), tmp_path / "weights.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    shutil.copyfile(__file__, path)
    with pytest.raises(InputError, match=r"weights\.pth: not a checkpoint that can be read safely"):
        provide(str(path), get_space("ofa_mbv3"), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
