"""`ofa export` of published and our own networks: real weights and photos, the folder it makes, and bad input."""

import csv
import functools
import io
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ofa_core.commands.classify import Classifier
from ofa_core.nn.inputs import IMAGENET, SYMMETRIC, to_input
from ofa_core.nn.official import load_specialized
from ofa_core.nn.uniform_input import with_uniform_input
from ofa_core.runtime.tflite import TFLiteModel
from tests.commands.test_main import ofa
from tests.conftest import REPO, shared_data
from tests.convert.test_network import make_network, normalised, random_images

NETWORK = "ofa/proxyless_w0.25_r112_imagenet"


@functools.cache
def photos():
    """(names, content of the files, labels) of the ImageNet photos."""
    with zipfile.ZipFile(shared_data("images/imagenet_photos.zip")) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        contents = [archive.read(f"images/{row['file']}") for row in rows]
    return [row["file"] for row in rows], contents, np.array([int(row["imagenet_class_index"]) for row in rows])


def published():
    folder = shared_data(NETWORK)
    return str(folder / "net.config"), str(folder / "weights.pth")


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """Every second photo in a .zip archive, for calibration. The others are scored."""
    path = tmp_path_factory.mktemp("photos") / "half.zip"
    names, contents, _ = photos()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in list(zip(names, contents, strict=True))[::2]:
            archive.writestr(f"any/depth/{name}", content)
    return path


@pytest.fixture(scope="module")
def exported(half, tmp_path_factory):
    """The folders of the network with 1000 and with 1001 classes."""
    top = tmp_path_factory.mktemp("exported")
    from ofa_core.commands.main import main

    common = ["export", *published(), "--calibrate", str(half), "--json"]
    assert main([*common, "--out", str(top / "plain")]) == 0
    assert main([*common, "--out", str(top / "wide"), "--background", "--formats", "uint8,float"]) == 0
    return top


def predictions(path, pixels=None):
    """Probabilities of all photos, from the file and the preprocessing in its folder."""
    classifier = Classifier(path)
    if pixels is None:
        pixels = np.stack([classifier.pixels(content) for content in photos()[1]])
    return pixels, classifier.model.predict(pixels)


def test_published_network_on_photos(exported, capsys):
    """float: torch's class on every photo. uint8: at most 1.5 points below, on photos not used for calibration."""
    labels = photos()[2]
    pixels, exact = predictions(exported / "plain/model_float.tflite")
    assert pixels.shape == (300, 112, 112, 3)
    net = load_specialized(*published())
    with torch.no_grad():
        expected = net(to_input(pixels)).softmax(1).numpy()
    assert (expected.argmax(1) == labels).sum() == 151  # as published
    np.testing.assert_array_equal(exact.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-5)

    _, coarse = predictions(exported / "plain/model.tflite", pixels)
    scored = slice(1, None, 2)
    top1 = [(found.argmax(1) == labels)[scored].mean() for found in (expected, coarse)]
    assert top1[1] >= top1[0] - 0.015
    assert (expected.argmax(1) == coarse.argmax(1))[scored].mean() > 0.75

    for name, narrow in (("model_float.tflite", exact), ("model.tflite", coarse)):
        _, wide = predictions(exported / "wide" / name, pixels)
        assert wide.shape == (300, 1001)
        np.testing.assert_array_equal(wide.argmax(1) - 1, narrow.argmax(1))
    code, out, _ = ofa(capsys, "verify", "--contract", "classification", str(exported / "wide/model.tflite"))
    assert (code, out) == (0, "model.tflite: OK\n")


def test_the_folder_is_a_release(exported, capsys):
    names = {"model.tflite", "model_float.tflite", "model.onnx", "model.labels.txt", "model.md"}
    assert {path.name for path in (exported / "plain").iterdir()} == names | {"manifest.json", "MD5SUMS", "SHA256SUMS"}
    assert ofa(capsys, "verify", str(exported / "plain"))[0] == 0
    [entry] = json.loads((exported / "plain/manifest.json").read_text())["models"]
    rule = {"resize": "bilinear", "shorter_side": 128, "resize_to": [128, 128], "crop": [112, 112]}
    assert entry["preprocessing"] == rule | {"mean": 127.5, "std": 127.5}
    assert entry["input"]["size"] == [112, 112]
    assert entry["input"]["scale"] == pytest.approx(2 / 255)
    assert entry["metrics"]["float_same_top1_as_torch"] == 1
    labels = (exported / "wide/model.labels.txt").read_text().splitlines()
    assert labels[:2] == ["background", "0"]
    assert len(labels) == 1001


def test_equal_bytes_from_another_process_and_folder(exported, half, tmp_path):
    command = [
        sys.executable,
        "-m",
        "ofa_core.commands.main",
        "export",
        *published(),
        "--calibrate",
        str(half),
        "--out",
        "again",
    ]
    run = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(REPO), "PATH": ""}, capture_output=True, check=True)
    assert b"same top1 100.00%" in run.stdout
    sums = [(folder / "MD5SUMS").read_text() for folder in (exported / "plain", tmp_path / "again")]
    assert sums[0] == sums[1]


def test_normalisation_of_imagenet():
    network = make_network("ofa_small_k7", 0.5, 20)
    images = random_images(4, 20)
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    assert with_uniform_input(network) is network
    network.normalization = IMAGENET
    torch.testing.assert_close(to_input(images, IMAGENET), (pixels - mean) / std)
    longer = with_uniform_input(network)
    assert longer.normalization == SYMMETRIC
    with torch.no_grad():
        expected = network((pixels - mean) / std)
        got = longer(normalised(images))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def ours(tmp_path):
    """A .safetensors file of this pipeline, and a folder of images."""
    from ofa_core.nn.weights import save_network
    from ofa_core.space.registry import get_space
    from tests.export.test_formats import arch_of, origin

    space, network = get_space("ofa_small_k7", 0.5), make_network("ofa_small_k7", 0.5, 20)
    save_network(tmp_path / "net.safetensors", network, arch_of(space, network), origin(space))
    (tmp_path / "images").mkdir()
    for i, image in enumerate(random_images(6, 32)):
        Image.fromarray(image).save(tmp_path / f"images/{i}.png")
    return tmp_path


def export_ours(capsys, folder, *more):
    weights = folder / "net.safetensors"
    return ofa(capsys, "export", str(weights), "--calibrate", str(folder / "images"), "--out", str(folder / "out"), *more)


def test_our_own_network(capsys, ours):
    (ours / "names").write_text("\n".join("abcdefghij"))
    more = ("--formats", "uint8,float16,torch", "--labels", str(ours / "names"), "--keep-float", "classifier")
    code, out, err = export_ours(capsys, ours, *more)
    assert code == 0, err
    assert len(out.splitlines()) == 6
    assert (ours / "out/model.safetensors").read_bytes() == (ours / "net.safetensors").read_bytes()
    assert (ours / "out/model.labels.txt").read_text().split() == list("abcdefghij")
    assert TFLiteModel(ours / "out/model.tflite").size == (20, 20)
    [entry] = json.loads((ours / "out/manifest.json").read_text())["models"]
    assert entry["preprocessing"]["crop"] is None
    assert entry["arch"]["r"] == 20
    assert export_ours(capsys, ours, "--formats", "float")[0] == 0  # replaces the earlier one
    assert not (ours / "out/model.tflite").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--formats", "uint8,int4"), "argument --formats: invalid choice: 'int4' (choose from 'uint8', "),
        (("--hard-swish", "round"), "argument --hard-swish: invalid choice: 'round'"),
        (("--keep-float", "block_99"), "keep_float: 'block_99' is not a layer; there are first_conv"),
        (("--resolution", "24"), "--resolution: 24, the network of "),
        (("--shorter-side", "10"), "--shorter-side: 10 is less than the resolution, 20"),
        (("--calibration-images", "0"), "--calibration-images: 0 is less than 1"),
        (("--labels", "none.txt"), "none.txt: no such file"),
    ],
)
def test_bad_arguments(capsys, ours, arguments, message):
    code, _, err = export_ours(capsys, ours, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (ours / "out").exists()


def test_bad_input_leaves_nothing(capsys, ours):
    def fails(message, *arguments):
        code, _, err = ofa(capsys, "export", *map(str, arguments), "--out", str(ours / "out"))
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
        assert not (ours / "out").exists()
        assert not list(ours.glob(".out*"))

    net, images = ours / "net.safetensors", ours / "images"
    fails("--calibrate: missing; uint8 files need images", net)
    fails("no such folder or .zip archive", net, "--calibrate", ours / "none")
    (ours / "empty").mkdir()
    fails("no images to calibrate with", net, "--calibrate", ours / "empty")
    (ours / "empty/broken.jpg").write_bytes(b"\xff\xd8\xff")
    fails("broken.jpg: ", net, "--calibrate", ours / "empty")
    fails("one file must be a .safetensors file", images / "0.png", "--calibrate", images)
    content = bytearray(net.read_bytes())
    content[-4:] = np.float32("nan").tobytes()
    (ours / "nan.safetensors").write_bytes(content)
    fails("holds values that are not finite", ours / "nan.safetensors", "--calibrate", images)
    code, _, err = ofa(capsys, "export", str(net), "--calibrate", str(images), "--out", str(images))
    assert code == 2
    assert "holds 0.png, which is not from an earlier export" in err
    assert (images / "0.png").exists()


def test_bad_published_networks(capsys, ours):
    folder = shared_data(NETWORK)
    for name in ("net.config", "run.config", "weights.pth"):
        shutil.copy(folder / name, ours / name)
    config = json.loads((folder / "net.config").read_text())

    def fails(message, change):
        changed = json.loads(json.dumps(config))
        change(changed)
        (ours / "net.config").write_text(json.dumps(changed))
        arguments = [str(ours / "net.config"), str(ours / "weights.pth"), "--calibrate", str(ours / "images")]
        code, _, err = ofa(capsys, "export", *arguments, "--out", str(ours / "out"))
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
        assert not (ours / "out").exists()

    def unknown_operator(changed):
        changed["blocks"][1]["mobile_inverted_conv"]["name"] = "ShuffleLayer"

    def other_activation(changed):
        changed["first_conv"]["act_func"] = "gelu"

    def wrong_shape(changed):
        changed["blocks"][1]["mobile_inverted_conv"]["kernel_size"] = 7

    fails("net.config.blocks[1].mobile_inverted_conv.name: 'ShuffleLayer' is not one of", unknown_operator)
    fails("net.config.first_conv.act_func: 'gelu' is not one of", other_activation)
    fails("weights.pth: does not fit the network: ", wrong_shape)
    state = torch.load(ours / "weights.pth", weights_only=True)
    tensors = state.get("state_dict", state)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    torch.save(state, ours / "weights.pth")
    fails("weights.pth: first_conv.conv: kernel holds values that are not finite", lambda changed: None)
