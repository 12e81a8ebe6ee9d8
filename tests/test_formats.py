"""The files of one network side by side, and latency tables from a file."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.data.resize import to_input
from ofa_core.export.formats import export_network
from ofa_core.export.params import ExportParams
from ofa_core.export.runtime import TFLiteModel
from ofa_core.measure.evaluation import accuracy
from ofa_core.measure.obtain import obtain_table
from ofa_core.measure.params import DeviceParams
from ofa_core.nn import build_supernet
from ofa_core.nn.network import Network
from ofa_core.spaces import get_space
from ofa_core.training.weights import load_network, save_network
from tests.conftest import REPO

SPACE = get_space("ofa_small", 0.5)
CLASSES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Network, Arch, Path]:
    """A small network written to a file, in a folder of its own as the current one."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net, arch = build_supernet(SPACE, len(CLASSES)), SPACE.smallest(24)
    path = Path("net.safetensors")
    origin = {"space": {"name": "ofa_small", "width_mult": 0.5}, "num_classes": len(CLASSES)}
    save_network(path, net.extract(arch), arch, origin)
    return *load_network(path), path


def test_all_formats(network: tuple[Network, Arch, Path]) -> None:
    net, arch, path = network
    images = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)
    params = ExportParams(formats=("uint8", "float", "onnx", "torch"), calibration_images=8, hard_swish="composed")
    description = export_network(net, arch, path, CLASSES, images, params, "demo")
    assert sorted(p.name for p in files.exported("demo").iterdir()) == [
        "model.json", "model.labels.txt", "model.onnx", "model.safetensors", "model.tflite", "model_float.tflite",
    ]  # fmt: skip
    assert files.exported_file("demo", "labels").read_text().split() == list(CLASSES)
    assert files.read_json(files.exported_file("demo", "description")) == description
    assert description["input"]["dtype"] == "uint8"
    assert description["input"]["scale"] == pytest.approx(2 / 255)
    assert description["input"]["zero_point"] in (127, 128)
    assert description["largest_difference_to_torch"]["float"] < 1e-5
    expected = net(to_input(images)).softmax(1).detach().numpy()
    session = onnxruntime.InferenceSession(files.exported_file("demo", "onnx").read_bytes())
    for i in range(len(images)):
        [found] = session.run(None, {"image": to_input(images[i : i + 1]).numpy()})
        np.testing.assert_allclose(found[0], expected[i], atol=1e-5)
    assert files.md5(files.exported_file("demo", "torch")) == files.md5(path)

    scores = accuracy(files.exported_file("demo", "float"), images, expected.argmax(1))
    assert scores == {"top1": 1.0, "top5": 1.0}
    second = np.argsort(-expected, axis=1)[:, 1]
    assert accuracy(files.exported_file("demo", "float"), images, second) == {"top1": 0.0, "top5": 1.0}
    probabilities = TFLiteModel(files.exported_file("demo", "uint8")).predict(images)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=0.02)


def test_export_refuses_broken_weights(network: tuple[Network, Arch, Path]) -> None:
    net, arch, path = network
    with torch.no_grad():
        net.parts["classifier"].weight[0, 0] = float("nan")  # type: ignore[union-attr, index]
    params = ExportParams(formats=("uint8",), calibration_images=1, hard_swish="composed")
    images = np.zeros((1, 24, 24, 3), np.uint8)
    with pytest.raises(ValueError, match="classifier"):
        export_network(net, arch, path, CLASSES, images, params, "demo")
    assert not files.EXPORTED.exists()


def device(**changes: object) -> DeviceParams:
    """Parameters of a device whose table comes from a file."""
    fields = {"kind": "host", "source": "file", "file": "table.json", "file_md5": "", "dtype": "uint8"}
    fields |= {"threads": 1, "instances": 1, "milliseconds": 1, "networks": 0}  # type: ignore[dict-item]
    return DeviceParams(**(fields | changes))  # type: ignore[arg-type]


def test_table_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = r"build_latency_table\.devices\.phone"
    space = get_space("ofa_small")
    with pytest.raises(ValueError, match=rf"{where}\.file: table\.json: no such file"):
        obtain_table("phone", device(), space, 10, "composed", 0)
    shutil.copy(REPO / "params/ci_latency.json", "table.json")
    md5 = files.md5("table.json")
    with pytest.raises(ValueError, match=rf"{where}\.file_md5: : the MD5 of table\.json is {md5}"):
        obtain_table("phone", device(), space, 10, "composed", 0)
    with pytest.raises(ValueError, match=rf"{where}\.file: table\.json is for num_classes 10, not 7"):
        obtain_table("phone", device(file_md5=md5), space, 7, "composed", 0)
    table, report = obtain_table("phone", device(file_md5=md5), space, 10, "composed", 0)
    assert table.predict(space, space.smallest()) < table.predict(space, space.largest())
    assert report == {"networks": 0}
