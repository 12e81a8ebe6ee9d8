import json
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from ofa_core.release.card import model_card
from ofa_core.release.folder import ReleasedModel, write_release
from ofa_core.release.verify import verify
from tests.conftest import REPO

ENTRY = {
    "id": "ofa-fast",
    "task": "classification",
    "dataset": "fashion_mnist",
    "dataset_license": "MIT License",
    "input": {"size": [20, 24], "channels": 3, "dtype": "uint8", "scale": 1 / 127.5, "zero_point": 128},
    "preprocessing": {"resize": "bilinear", "resize_to": [22, 26], "crop": [20, 24], "mean": 127.5, "std": 127.5},
    "metrics": {"split": "test", "top1": 0.91234, "latency_ms": 0.5, "predicted_latency_ms": 0.49, "device": "some CPU"},
    "arch": {"ks": [3], "e": [4], "d": [2], "r": 20},
}


def model(folder, name="ofa-fast", kinds=("uint8", "float", "onnx", "labels"), **changes):
    paths = {}
    for kind in kinds:
        paths[kind] = folder / f"{name}.{kind}.source"
        paths[kind].write_bytes(f"{name} {kind}\n".encode() * 50)
    return ReleasedModel(entry={**ENTRY, "id": name, **changes}, files=paths)


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "release"
    models = [model(tmp_path, "ofa-slow", kinds=("uint8", "labels")), model(tmp_path)]
    write_release(folder, models, {"versions": {"torch": "2"}})
    return folder


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_release_is_complete_and_whole(release, tmp_path):
    assert verify(release) == []
    assert sorted(path.name for path in release.iterdir()) == [
        "MD5SUMS", "SHA256SUMS", "manifest.json", "ofa-fast.labels.txt", "ofa-fast.md", "ofa-fast.onnx", "ofa-fast.tflite",
        "ofa-fast_float.tflite", "ofa-slow.labels.txt", "ofa-slow.md", "ofa-slow.tflite",
    ]  # fmt: skip
    text = (release / "manifest.json").read_text()
    manifest = json.loads(text)
    assert text == json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    assert manifest["versions"] == {"torch": "2"}
    first = manifest["models"][0]
    assert {key: first[key] for key in ENTRY} == ENTRY
    assert first["files"]["float"]["name"] == "ofa-fast_float.tflite"
    assert first["files"]["uint8"]["bytes"] == (release / "ofa-fast.tflite").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_md5sum_and_sha256sum_read_the_sums(release):
    for command, names in (("md5sum", 6), ("sha256sum", 10)):
        sums = f"{command[:-3].upper()}SUMS"
        done = run(command, "-c", "--strict", sums, cwd=release)
        assert done.returncode == 0, done.stderr
        lines = [line.split("  ")[1] for line in (release / sums).read_text().splitlines()]
        assert lines == sorted(lines)
        assert len(lines) == names
    assert "md" not in {name.rsplit(".")[-1] for name in (release / "MD5SUMS").read_text().split()}


def test_equal_models_give_equal_bytes_and_old_files_go(release, tmp_path):
    before = {path.name: path.read_bytes() for path in release.iterdir()}
    (release / "old").write_text("old")
    write_release(
        release, [model(tmp_path), model(tmp_path, "ofa-slow", kinds=("uint8", "labels"))], {"versions": {"torch": "2"}}
    )
    assert {path.name: path.read_bytes() for path in release.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../up"}, "an id is made of"),
        ({"name": "ofa-slow"}, "two models would both be ofa-slow.tflite"),
        ({"kinds": ("exe",)}, "'exe' is not one of uint8, int8, "),
        ({"kinds": ()}, "no files"),
    ],
)
def test_writing_refuses_bad_models_and_keeps_the_old_release(release, tmp_path, change, message):
    good, other = model(tmp_path, "ofa-slow"), tmp_path / "other"
    (other / "x").mkdir(parents=True)
    with pytest.raises(ValueError, match=message):
        write_release(release, [good, model(other / "x", **change)])
    missing = ReleasedModel(entry={**ENTRY, "id": "a"}, files={"uint8": tmp_path / "nowhere"})
    with pytest.raises(ValueError, match="nowhere: no such file"):
        write_release(release, [missing])
    with pytest.raises(ValueError, match="a: missing task, dataset"):
        write_release(release, [ReleasedModel(entry={"id": "a"}, files={})])
    with pytest.raises(ValueError, match="none to release"):
        write_release(release, [])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_release(release, [model(tmp_path, metrics={"top1": float("nan")})])
    assert verify(release) == []


def flip(path, position=10):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def edit_manifest(release, edit):
    manifest = json.loads((release / "manifest.json").read_text())
    edit(manifest)
    (release / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


DAMAGE = {
    "flipped byte": (lambda r: flip(r / "ofa-fast.tflite"), ["ofa-fast.tflite: md5 is "]),
    "flipped byte of a card": (lambda r: flip(r / "ofa-fast.md"), ["ofa-fast.md: sha256 is "]),
    "truncated": (lambda r: (r / "ofa-slow.tflite").write_bytes(b"ofa"), ["ofa-slow.tflite: md5 is "]),
    "missing": (lambda r: (r / "ofa-fast.onnx").unlink(), ["ofa-fast.onnx: missing"]),
    "missing card": (lambda r: (r / "ofa-fast.md").unlink(), ["ofa-fast.md: missing"]),
    "extra": (lambda r: (r / "more.bin").write_bytes(b""), ["more.bin: extra file"]),
    "extra hidden": (lambda r: (r / ".more").write_bytes(b""), [".more: extra file"]),
    "no MD5SUMS": (lambda r: (r / "MD5SUMS").unlink(), ["MD5SUMS: missing"]),
    "no SHA256SUMS": (lambda r: (r / "SHA256SUMS").unlink(), ["SHA256SUMS: missing"]),
    "no manifest": (lambda r: (r / "manifest.json").unlink(), ["manifest.json: missing"]),
    "garbled manifest": (
        lambda r: (r / "manifest.json").write_text("{"),
        ["manifest.json: not JSON", "manifest.json: sha256 is"],
    ),
    "binary manifest": (lambda r: (r / "manifest.json").write_bytes(b"\xff"), ["manifest.json: not JSON"]),
    "empty sums": (lambda r: (r / "SHA256SUMS").write_text(""), ["SHA256SUMS: empty"]),
    "garbled sums": (lambda r: (r / "SHA256SUMS").write_text("hello\n"), ["SHA256SUMS: line 1 is not"]),
    "binary sums": (lambda r: (r / "MD5SUMS").write_bytes(b"\xff\xfe"), ["MD5SUMS: cannot be read"]),
    "manifest of another top-1": (
        lambda r: edit_manifest(r, lambda m: m["models"][0]["metrics"].update(top1=0.99)),
        ["manifest.json: sha256 is "],
    ),
    "manifest without models": (
        lambda r: edit_manifest(r, lambda m: m.update(models=[])),
        ["manifest.json: models: not a list"],
    ),
    "manifest without a key": (
        lambda r: edit_manifest(r, lambda m: m["models"][1].pop("metrics")),
        ["manifest.json: models[1]: missing metrics"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_named(release, damage):
    act, expected = DAMAGE[damage]
    act(release)
    problems = verify(release)
    for start in expected:
        assert any(problem.startswith(start) for problem in problems), problems
    assert all("\n" not in problem for problem in problems)
    command = run(sys.executable, "-m", "ofa_core.commands.main", "verify", str(release), cwd=REPO)
    assert command.returncode == 1
    assert command.stdout.splitlines() == problems


def test_one_line_a_damaged_file(release):
    flip(release / "ofa-fast.tflite")
    assert len(verify(release)) == 1


def test_sums_and_manifest_are_compared_with_each_other(release):
    """If the manifest's checksums and SHA256SUMS are both changed, the model file and MD5SUMS reveal it."""
    edit_manifest(release, lambda m: m["models"][0]["files"]["uint8"].update(md5="0" * 32, bytes=1))
    sums = run("sh", "-c", "sha256sum $(ls | grep -v SHA256SUMS) > SHA256SUMS", cwd=release)
    assert sums.returncode == 0
    (problem,) = verify(release)
    assert problem.startswith("ofa-fast.tflite: md5 is ")
    assert "manifest.json says 000" in problem
    assert "bytes is 750, manifest.json says 1" in problem


def test_a_file_left_out_of_the_sums(release):
    lines = (release / "MD5SUMS").read_text().splitlines(keepends=True)
    (release / "MD5SUMS").write_text("".join(lines[1:]))
    assert "ofa-fast.labels.txt: not listed in MD5SUMS" in verify(release)


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        verify(tmp_path / "none")


def test_the_card_tells_what_the_manifest_does(release):
    card = (release / "ofa-fast.md").read_text()
    for part in ("91.23%", "test", "some CPU", "0.5 ms", "MIT License", "22 x 26", "centre 20 x 24", '"ks": [3]', "md5sum -c"):
        assert part in card
    manifest = json.loads((release / "manifest.json").read_text())
    for file in manifest["models"][0]["files"].values():
        assert file["md5"] in card and file["sha256"] in card and file["name"] in card  # noqa: PT018
    assert model_card(manifest["models"][0]) == card


@pytest.mark.parametrize("channels", [1, 3])
def test_the_cards_program_runs(tmp_path, monkeypatch, capsys, channels):
    """With a small uint8 model whose first class wins on bright images."""
    tf = pytest.importorskip("tensorflow")
    shape = (20, 24, channels)
    inputs = tf.keras.Input(shape, batch_size=1)
    brightness = tf.keras.layers.Dense(2, kernel_initializer="zeros", name="head")
    network = tf.keras.Model(inputs, brightness(tf.keras.layers.GlobalAveragePooling2D()(inputs)))
    brightness.set_weights([np.array([[1.0, -1.0]] * channels, np.float32), np.zeros(2, np.float32)])
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.full((1, *shape), v, np.float32)] for v in (-1, 1))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (tmp_path / "m").write_bytes(converter.convert())
    (tmp_path / "l").write_text("bright\ndark\n")
    entry = {**ENTRY, "input": {**ENTRY["input"], "channels": channels}}
    release = tmp_path / "release"
    write_release(release, [ReleasedModel(entry=entry, files={"uint8": tmp_path / "m", "labels": tmp_path / "l"})])
    program = (release / "ofa-fast.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(release)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", types.ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", types.SimpleNamespace(Interpreter=tf.lite.Interpreter))
    for value, expected in ((250, "bright"), (5, "dark")):
        Image.fromarray(np.full((40, 50, 3), value, np.uint8)).save("image.png")
        capsys.readouterr()
        exec(program, {})
        assert capsys.readouterr().out == f"{expected}\n"


def test_the_card_shows_units(tmp_path):
    metrics = {"top1": 1, "float_top1": 0.885, "float_top5": 0.99881, "onnx_same_top1_as_torch": 1.0, "images": 100}
    metrics |= {"float_latency_ms": 2.1049, "latency_spread_ms": 0.00772, "device": "a phone", "predicted_latency_ms": None}
    write_release(tmp_path / "release", [model(tmp_path, metrics=metrics)])
    card = (tmp_path / "release" / "ofa-fast.md").read_text()
    assert card.split("| metric | value |\n|---|---|\n")[1].split("\n\n")[0].splitlines() == [
        "| device | a phone |",
        "| float_latency_ms | 2.1 ms |",
        "| float_top1 | 88.50% |",
        "| float_top5 | 99.88% |",
        "| images | 100 |",
        "| latency_spread_ms | 0.00772 ms |",
        "| onnx_same_top1_as_torch | 100.00% |",
        "| top1 | 100.00% |",
    ]


def test_a_detection_card(tmp_path):
    changes = {"task": "detection", "metrics": {"split": "val", "map": 0.2, "device": None}}
    write_release(tmp_path / "release", [model(tmp_path, **changes)])
    card = (tmp_path / "release" / "ofa-fast.md").read_text()
    assert "| map | 20.00% |" in card and "print(names[int(classes[i])], scores[i], boxes[i])" in card  # noqa: PT018
    shutil.rmtree(tmp_path / "release")
