"""Export of every format: content of the files, gates before they are written, and reproducible bytes."""

import functools
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from ofa_core.convert.hard_swish import choose_hard_swish
from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.operators import check_operators, operators
from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert_float
from ofa_core.export.extra_layers import with_background
from ofa_core.export.formats import export_network, write
from ofa_core.export.int8_drop import check_drop, int8_drop
from ofa_core.export.parity import check_difference, check_kernels, compare, compare_kernels, layer_errors
from ofa_core.images.packed import pack
from ofa_core.nn.inputs import SYMMETRIC
from ofa_core.nn.weights import save_network
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.arch import Arch
from ofa_core.space.graph import lower_network
from ofa_core.space.registry import get_space
from ofa_core.tasks.registry import get_task
from stages import export as stage_export
from tests.conftest import REPO
from tests.convert.test_network import conversion, make_network, random_images, torch_probabilities

TASK = get_task("classification")
CLASSES = tuple("abcdefghij")
FORMATS = ("uint8", "int8", "dynamic", "float16", "float", "saved_model", "frozen", "onnx", "torch")


@functools.cache
def everything():
    """A network, and everything made from it."""
    network = make_network("ofa_small_se", None, 20)
    params, images = conversion(formats=FORMATS), random_images(12, 20, seed=1)
    return network, export_network(network, CLASSES, params, "composed", random_images(8, 20), images, b"weights", task=TASK)


def test_every_format_computes_what_torch_computes(tmp_path):
    network, exported = everything()
    assert set(exported.content) == set(FORMATS)
    found = exported.report["to_torch"]
    assert set(found) == set(FORMATS) - {"torch"} | {"tensorflow"}
    for name in ("tensorflow", "float", "saved_model", "frozen", "onnx"):
        assert found[name]["largest_difference"] < 1e-5, name
        assert found[name]["same_top1"] == 1
    assert 1e-6 < found["float16"]["largest_difference"] < 0.02  # weights of 11 significant bits
    assert found["float16"]["largest_difference"] < found["uint8"]["largest_difference"] < 0.5
    assert found["dynamic"]["largest_difference"] < 0.3
    sizes = {name: len(content) for name, content in exported.content.items()}
    assert sizes["float16"] < 0.7 * sizes["float"]
    assert max(sizes["uint8"], sizes["dynamic"]) < 0.6 * sizes["float"]

    # A SavedModel, loaded as a user does.
    zipfile.ZipFile(io.BytesIO(exported.content["saved_model"])).extractall(tmp_path)
    loaded = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    images = random_images(2, 20, seed=2)
    got = [loaded(image=tf.constant(x[None] / 127.5 - 1, tf.float32))["probabilities"].numpy()[0] for x in images]
    np.testing.assert_allclose(got, torch_probabilities(network, images), rtol=0, atol=1e-5)


def test_int8_and_uint8_files_differ_by_128_only():
    _, exported = everything()
    models = [TFLiteModel(exported.content[name]) for name in ("uint8", "int8")]
    assert [model.input_details["dtype"] for model in models] == [np.uint8, np.int8]
    assert [model.output_details["quantization"] for model in models] == [(1 / 256, 0), (1 / 256, -128)]
    images = random_images(6, 20, seed=3)
    np.testing.assert_array_equal(*(model.predict(images) for model in models))


def test_files_labels_and_description(tmp_path):
    _, exported = everything()
    write(tmp_path / "demo", exported, exported.description)
    names = {paths.exported_name(kind) for kind in (*FORMATS, "labels", "description")}
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == names
    assert (tmp_path / "demo/model.labels.txt").read_text().split() == list(CLASSES)
    description = json.loads((tmp_path / "demo/model.json").read_text())
    assert description["labels"] == list(CLASSES)
    assert set(description["layout"]) == set(description["formats"]) == set(FORMATS)
    assert description["layout"]["onnx"] == "NCHW"
    assert description["layout"]["frozen"] == "NHWC"
    assert description["input"] | {"scale": 0, "zero_point": 0} == {
        "size": [20, 20], "channels": 3, "dtype": "uint8", "scale": 0, "zero_point": 0}  # fmt: skip


def test_operators_are_those_of_the_layers():
    network, exported = everything()
    ops, fused_ops = (lower_network(network.active, form) for form in ("composed", "fused"))
    found = exported.report["operators"]
    assert found["uint8"] == found["float"] | {"QUANTIZE": 2}
    assert found["int8"] == found["float"]
    fused = convert_float(tf_network(network, hard_swish="fused"))
    with pytest.raises(ValueError, match=r"^float: \d+ operators HARD_SWISH, the layers need 0$"):
        check_operators("float", fused, ops)
    with pytest.raises(ValueError, match=r"^float: 0 operators HARD_SWISH, the layers need \d+$"):
        check_operators("float", exported.content["float"], fused_ops)
    with pytest.raises(ValueError, match=r"^int8: the operator QUANTIZE"):
        check_operators("int8", exported.content["uint8"], ops)
    with pytest.raises(ValueError, match=r"^float: \d+ operators [A-Z_0-9]+, the layers need \d+$"):
        check_operators("float", exported.content["float"], ops[:-6])


@pytest.mark.parametrize(
    ("function", "stray"),
    [
        (lambda x: tf.transpose(x, [0, 3, 1, 2]) * 2.0, "TRANSPOSE"),
        (lambda x: tf.nn.relu6(x), "RELU6"),
        (lambda x: tf.sin(x), "SIN"),
    ],
)
def test_operators_that_do_not_belong_are_named(function, stray):
    concrete = tf.function(function, input_signature=[tf.TensorSpec((1, 4, 4, 3))]).get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    assert operators(content)[stray] == 1
    with pytest.raises(ValueError, match=f"^float: the operator {stray} "):
        check_operators("float", content, [])


def test_operators_of_a_damaged_file():
    with pytest.raises(ValueError, match="not a TFLite file"):
        operators(b"nonsense")
    with pytest.raises(ValueError, match="a damaged TFLite file"):
        operators(everything()[1].content["float"][:200])


def test_some_layers_may_stay_float():
    network, exported = everything()
    images, calibration = random_images(12, 20, seed=1), random_images(8, 20)
    names = tuple(layer.name for layer in network.active if layer.name != "pool")
    whole, ranges = tf_network(network), calibrate(network, calibration, "minmax", "composed")
    content = convert_integer(network, ranges, keep_float=names)
    kept = compare(network, whole, {"uint8": content}, images, TASK)["uint8"]["largest_difference"]
    assert kept < 0.2 * exported.report["to_torch"]["uint8"]["largest_difference"]  # the input is still rounded
    model = TFLiteModel(convert_integer(network, ranges, io="int8", keep_float=("block_1",)))
    assert model.input_details["dtype"] == np.int8
    block = [t for t in model.interpreter.get_tensor_details() if t["name"].startswith("block_1/")]
    others = [t for t in model.interpreter.get_tensor_details() if t["name"].startswith("block_2/")]
    assert any(t["dtype"] == np.float32 for t in block)
    assert all(t["dtype"] != np.float32 for t in others)
    with pytest.raises(ValueError, match=r"^keep_float: 'block_99' is not a layer; there are first_conv, "):
        convert_integer(network, ranges, keep_float=("block_99",))


def test_errors_of_layers_tell_where_the_loss_is():
    network, exported = everything()
    rows = exported.layers
    assert list(dict.fromkeys(row["layer"] for row in rows)) == [layer.name for layer in network.active]
    assert all(5 < row["sqnr_db"] < 70 and row["scale"] > 0 for row in rows)
    # Weights of one layer are rounded to a coarse grid: the loss begins there.
    images, calibration = random_images(8, 20, seed=1), random_images(8, 20)
    broken = make_network("ofa_small_se", None, 20)
    weight = broken.parts["block_2"].project.weight.data
    weight.copy_((weight / weight.abs().max() * 2).round() * weight.abs().max() / 2)
    ranges = calibrate(broken, calibration, "minmax", "composed")
    rows = layer_errors(exported.float_file, convert_integer(broken, ranges), SYMMETRIC, images, lower_network(broken.active))
    before = min(row["sqnr_db"] for row in rows if row["layer"] in ("first_conv", "block_0", "block_1"))
    assert [row["sqnr_db"] for row in rows if row["layer"] == "block_2"][-1] < before - 6


def test_kernels_are_compared():
    _, exported = everything()
    found = compare_kernels(exported.content["uint8"], random_images(12, 20, seed=1), TASK)
    assert 0.5 < found["same_top1"] <= 1
    assert 0 < found["same_values"] <= 1
    assert found["largest_steps"] < 100
    with pytest.raises(ValueError, match=r"^uint8: XNNPACK and the reference kernels agree on 50.00% of the images"):
        check_kernels(found | {"same_top1": 0.5}, 0.9, TASK)


def test_gates_stop_with_one_line():
    network, exported = everything()
    with pytest.raises(ValueError, match=r"^onnx: differs from torch by 0.01, more than max_float_difference: 0.001$"):
        check_difference({"tensorflow": {"largest_difference": 0}, "onnx": {"largest_difference": 0.01}}, 1e-3)
    with pytest.raises(ValueError, match="differs from torch by nan"):
        check_difference({"float": {"largest_difference": float("nan")}}, 1e-3)
    images = random_images(40, 20, seed=4)
    labels = torch_probabilities(network, images).argmax(1)
    found = int8_drop(exported.float_file, exported.content["uint8"], SYMMETRIC, images, labels, TASK)
    assert found["top1_float"] == 1
    assert found["int8_drop"] == pytest.approx(1 - found["int8_agreement"])
    check_drop(found, found["int8_drop"], TASK)
    with pytest.raises(ValueError, match=r"^uint8: top1 on val falls from 100.00% to 40.00% by quantisation"):
        check_drop(found | {"top1_uint8": 0.4, "int8_drop": 0.6}, 0.5, TASK)
    with pytest.raises(ValueError, match=r"^labels: 9 names, the network has 10 classes$"):
        export_network(network, CLASSES[:9], conversion(), "composed", images, images, task=TASK)


def test_background_never_wins_and_changes_nothing_else():
    network = make_network("ofa_small_k7", None, 20)
    wider, images = with_background(network), random_images(50, 20)
    expected, got = torch_probabilities(network, images), torch_probabilities(wider, images)
    np.testing.assert_allclose(got[:, 1:] / (1 - got[:, :1]), expected, rtol=1e-4)
    assert got[:, 0].max() <= 1 / 11
    np.testing.assert_array_equal(got.argmax(1) - 1, expected.argmax(1))
    calibration = random_images(8, 20, seed=1)
    files_of = (convert_integer(net, calibrate(net, calibration, "minmax", "composed")) for net in (network, wider))
    integer = [TFLiteModel(content) for content in files_of]
    scales = [sorted(t["quantization"][0] for t in model.interpreter.get_tensor_details())[-5:] for model in integer]
    np.testing.assert_allclose(*scales, rtol=1e-6)  # the output range is intact
    np.testing.assert_array_equal(integer[1].predict(images).argmax(1) - 1, integer[0].predict(images).argmax(1))
    exported = export_network(network, CLASSES, conversion(background=True), "composed", calibration, images, task=TASK)
    assert exported.classes == ("background", *CLASSES)
    network.active = [layer for layer in network.active if layer.kind != "linear"]
    with pytest.raises(ValueError, match="pool: a background class needs a linear layer"):
        with_background(network)


def test_hard_swish_is_chosen_by_measurement():
    layers = get_space("ofa_small_se").layers(get_space("ofa_small_se").smallest(20), 10)
    form, times = choose_hard_swish("auto", layers)
    assert set(times) == {"fused", "composed"}
    assert times[form] == min(times.values())
    assert choose_hard_swish("fused", layers) == ("fused", {})
    plain = [replace(layer, act="relu6") for layer in layers]
    assert choose_hard_swish("auto", plain) == ("composed", {})


@pytest.fixture
def stage_folder(tmp_path):
    """A folder in which the stage export can run for the target demo."""
    space = get_space("ofa_small_k7", 0.5)
    network = make_network("ofa_small_k7", 0.5, 20)
    save_network(tmp_path / paths.specialized_file("demo", "post"), network, arch_of(space, network), origin(space))
    text = re.sub(r"width_mult: 1.0", "width_mult: 0.5", (REPO / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(text.replace("formats: [uint8, float, onnx, torch]", "formats: [uint8, torch]"))
    images, labels = random_images(40, 28), np.arange(40) % 10
    pack(tmp_path / paths.DATASET, {name: (images, labels) for name in ("train", "val", "test")}, CLASSES)
    return tmp_path


def origin(space):
    return {"space": {"name": space.name, "width_mult": space.width_mult}, "num_classes": 10}


def arch_of(space, network):
    """The architecture drawn by `make_network`."""
    sampled = space.sample(np.random.default_rng(0))
    arch: Arch = replace(space.smallest(20), ks=sampled.ks, e=sampled.e)
    assert space.layers(arch, 10) == network.active
    return arch


def run_stage(monkeypatch, capsys, folder, **changes):
    """Runs the stage with some parameters changed; returns its exit code and the last line on stderr."""
    path = folder / "params.yaml"
    text = path.read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^  {key}: .*$", f"  {key}: {value}", text, count=1)  # the section export comes first
        assert count == 1
    path.write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["export", "--target", "demo"])
    try:
        exit_cleanly(stage_export.main)
    except SystemExit as end:
        return end.code, capsys.readouterr().err.splitlines()[-1]
    return 0, ""


def test_the_stage_writes_all_or_nothing(monkeypatch, capsys, stage_folder):
    run = functools.partial(run_stage, monkeypatch, capsys, stage_folder)
    code, line = run(max_float_difference="1.0e-12")
    assert code == 2
    assert line.startswith("error: tensorflow: differs from torch by ")
    assert not list((stage_folder / "build").rglob("*xported*"))
    assert not (stage_folder / "reports").exists()
    assert run(max_float_difference="1.0e-4", max_int8_drop=1, min_kernel_agreement=0, min_simulation_agreement=0) == (0, "")
    metrics, report = (json.loads((stage_folder / f"reports/export/demo{end}.json").read_text()) for end in ("", "_details"))
    assert report["split"] == "val"
    assert report["int8_drop"] == pytest.approx(report["top1_float"] - metrics["top1"])
    lines = (stage_folder / "reports/export/demo.csv").read_text().splitlines()
    assert lines[0] == "position,layer,tensor,operator,sqnr_db,mean_error,scale,same_values,mean_steps,largest_steps"
    assert ",classifier,classifier,FULLY_CONNECTED," in lines[-1]
    scales = (stage_folder / "reports/export/demo_scales.csv").read_text().splitlines()
    assert len(scales) == 1 + sum(report["scales"][kind] for kind in ("activation", "weights", "bias"))
    assert all(line.endswith(",True") for line in scales[1:])
    assert report["released"] == "post"
    # A network with NaN leaves the old files in place.
    before = files.md5(stage_folder / paths.exported_file("demo", "uint8"))
    spoil(stage_folder / paths.specialized_file("demo", "post"))
    code, line = run()
    assert code == 2
    assert re.fullmatch(r"error: [\w.]+: [\w. ]*holds values that are not finite", line)
    assert files.md5(stage_folder / paths.exported_file("demo", "uint8")) == before


def spoil(path):
    """Puts a NaN into the last weight of a safetensors file."""
    content = bytearray(path.read_bytes())
    content[-4:] = np.float32("nan").tobytes()
    path.write_bytes(content)


def digests():
    """Of every format."""
    return {name: hashlib.md5(content).hexdigest() for name, content in sorted(everything()[1].content.items())}


def test_bytes_are_the_same_in_another_process_and_folder(tmp_path):
    # This process has built other networks before. The other one builds only this.
    program = f"import sys; sys.path.insert(0, {str(REPO)!r}); from tests.export.test_formats import digests; print(digests())"
    command = [sys.executable, "-c", program]
    other = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(digests())
    assert other.stderr == ""  # quiet
