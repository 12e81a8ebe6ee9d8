"""Networks of another library, whose weights are matched by the order of their modules."""

import importlib.machinery
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from ofa_core.nn import build_supernet, load_foreign
from ofa_core.nn.inputs import IMAGENET
from ofa_core.nn.weights import load_layers, save_layers, transfer
from ofa_core.run.errors import InputError
from ofa_core.space import get_space
from tests.conftest import REPO

TIMM = "timm==1.0.31"
PARTS = ("", ".transforms", ".transforms.functional", ".datasets", ".ops", ".ops.misc", ".models", ".utils")
SMALL = """
width_mult: 1.0
resolutions: [64]
bn_eps: 1.0e-5
stem: {widths: [16], stride: 2, act: h_swish}
first: {widths: [16], act: relu, residual: true, stride: 2, se: true}
stages:
  - {widths: [24], depths: [1], kernel_sizes: [3], expand_ratios: [4.5], stride: 2, act: relu, se: false}
  - {widths: [24], depths: [1], kernel_sizes: [3], expand_ratios: [3.67], stride: 1, act: relu, se: false}
  - {widths: [40], depths: [1], kernel_sizes: [3, 5], expand_ratios: [4], stride: 2, act: h_swish, se: true}
  - {widths: [40], depths: [1, 2], kernel_sizes: [5], expand_ratios: [3, 6], stride: 1, act: h_swish, se: true}
  - {widths: [48], depths: [1, 2], kernel_sizes: [5], expand_ratios: [3], stride: 1, act: h_swish, se: true}
  - {widths: [96], depths: [1, 2, 3], kernel_sizes: [5], expand_ratios: [3, 6], stride: 2, act: h_swish, se: true}
head: {expand_widths: [576], mix_widths: [1024], act: h_swish, mix_bias: true}
"""
"""MobileNetV3-Small."""


@pytest.fixture(scope="module")
def timm(tmp_path_factory):
    """timm, read from its wheel. torchvision, of which it needs only what it reads data sets with, is an empty module."""
    folder = tmp_path_factory.mktemp("timm")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), TIMM]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"pip cannot get {TIMM}")
    before = dict(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for name in (f"torchvision{part}" for part in PARTS):
            module = MagicMock()
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            patch.setitem(sys.modules, name, module)
        sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = type("FrozenBatchNorm2d", (), {})
        patch.syspath_prepend(*map(str, folder.glob("*.whl")))
        yield pytest.importorskip("timm")
    for name in set(sys.modules) - set(before):
        if name.partition(".")[0] == "timm":
            del sys.modules[name]


def statistics_(net):
    """Gives every batch norm statistics and scales of its own, so that no two can be taken for each other."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.dim() == 1:
            tensor.copy_(tensor + torch.randn(tensor.shape, generator=generator) * 0.1)
    return net.eval()


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("mobilenetv2_100", "params/spaces/mobilenet_v2.yaml"),
        ("mobilenetv3_large_100", "params/spaces/mobilenet_v3_large.yaml"),
        ("mobilenetv3_small_100", "small.yaml"),
    ],
)
def test_the_largest_network_has_their_logits(timm, name, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    theirs = statistics_(timm.create_model(name, num_classes=20))
    space = get_space(table if table == "small.yaml" else str(REPO / table), resolutions=[64])
    net = build_supernet(space, 20).eval()
    load_foreign(net, theirs.state_dict(), name)
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-4)
        # As the file that train_supernet.init names.
        net.normalization = IMAGENET
        save_layers("mine.safetensors", net.extract(space.largest()))
        again = build_supernet(space, 20).eval()
        transfer("mine.safetensors", again)
        torch.testing.assert_close(again(x), expected, rtol=1e-4, atol=1e-4)
    assert again.normalization == load_layers("mine.safetensors").normalization == IMAGENET


def test_the_program_of_the_documentation(timm, tmp_path, monkeypatch, capsys):
    """docs/own-network.md as it stands, with random weights instead of a download."""
    [program] = re.findall(r" *```python\n(.+?)```", (REPO / "docs/own-network.md").read_text(), re.DOTALL)
    program = textwrap.dedent(program)
    assert len(program.splitlines()) <= 20
    (tmp_path / "params/spaces").mkdir(parents=True)
    table = "params/spaces/mobilenet_v2.yaml"
    (tmp_path / table).write_text((REPO / table).read_text())
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(program.replace("pretrained=True", "pretrained=False"))
    runpy.run_path("own.py")
    assert float(capsys.readouterr().out.split()[-1]) < 1e-4
    assert load_layers("mobilenet_v2.safetensors").normalization == IMAGENET


def test_what_does_not_fit_is_named(timm):
    state = timm.create_model("mobilenetv2_100", num_classes=20).state_dict()
    net = build_supernet(get_space(str(REPO / "params/spaces/mobilenet_v2.yaml"), resolutions=[64]), 20)
    before = net.state_dict()["parts.block_3.expand.weight"].clone()
    wider = dict(state) | {"blocks.2.0.conv_pw.weight": torch.zeros(150, 24, 1, 1)}
    with pytest.raises(InputError, match=r"mine: blocks\.2\.0\.conv_pw\.weight is \(150, 24, 1, 1\), where layer block_3"):
        load_foreign(net, wider, "mine")
    shorter = {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}
    with pytest.raises(InputError, match="mine: ends before layer classifier"):
        load_foreign(net, shorter, "mine")
    with pytest.raises(InputError, match="mine: more is left over"):
        load_foreign(net, dict(state) | {"more.weight": torch.zeros(1)}, "mine")
    without = {name: tensor for name, tensor in state.items() if not name.startswith("bn1.")}
    with pytest.raises(InputError, match=r"mine: blocks\.0\.0\.conv_dw has weight, where layer first_conv\.conv\.bn has bias"):
        load_foreign(net, without, "mine")
    assert torch.equal(net.state_dict()["parts.block_3.expand.weight"], before)
