"""`ofa eval`, `ofa predict` and `ofa bench` on a released model."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ofa_core.export.formats import export_network, write
from ofa_core.images.decode import centre, decode
from ofa_core.images.tree import Tree
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_network, save_network
from ofa_core.release.folder import ReleasedModel, write_release
from ofa_core.release.verify import verify
from ofa_core.run import files, paths
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space
from ofa_core.tasks.registry import get_task
from stages import checksum
from tests.commands.test_main import ofa
from tests.conftest import REPO, shared_data
from tests.convert.test_network import conversion

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPACE = get_space("ofa_small_k7", 0.5)


def export(folder: Path, arch: Arch, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Writes the files of an untrained network into `folder`/build/exported/demo; returns their description."""
    monkeypatch.chdir(folder)
    torch.manual_seed(1)
    net, path = build_supernet(SPACE, len(CLASSES)), Path("net.safetensors")
    origin = {"space": {"name": "ofa_small_k7", "width_mult": 0.5}, "num_classes": len(CLASSES)}
    save_network(path, net.extract(arch), arch, origin)
    images = np.random.default_rng(0).integers(0, 256, (8, arch.r, arch.r, 3), dtype=np.uint8)
    params, task = conversion(formats=("uint8", "float")), get_task("classification")
    exported = export_network(load_network(path)[0], CLASSES, params, "composed", images, images, task=task)
    description = exported.description | {"arch": arch.to_dict()}
    write(paths.exported("demo"), exported, description)
    return description


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a small network. Its preprocessing first resizes the shorter side to 32 pixels."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as monkeypatch:
        description = export(folder, SPACE.smallest(24), monkeypatch)
        preprocessing = description["preprocessing"] | {"shorter_side": 32}
        entry = {"id": "demo", "task": "classification", "dataset": "cifar10", "metrics": {"split": "test", "top1": 0.1}}
        entry |= {"arch": description["arch"], "input": description["input"], "preprocessing": preprocessing}
        exported = {kind: paths.exported_file("demo", kind) for kind in ("uint8", "float", "labels")}
        write_release(folder / "release", [ReleasedModel(entry=entry, files=exported)])
    return folder / "release"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of CIFAR-10, 3 images of 3 classes; one has 60 x 40 pixels."""
    root = tmp_path_factory.mktemp("photos") / "test"
    with Tree(shared_data("images/cifar10_jpg.zip")) as tree:
        for label in ("bird", "ship", "truck"):
            (root / label).mkdir(parents=True)
            for i, name in enumerate([name for name in tree.files if name.startswith(f"test/{label}/")][:3]):
                (root / label / f"{i}.jpg").write_bytes(tree.read(name))
    with Image.open(root / "ship/0.jpg") as image:
        image.resize((60, 40)).save(root / "ship/wide.png")
    return root


def pixels(path: Path, shorter_side: int | None = 32) -> np.ndarray:
    """The manifest's preprocessing, done with Pillow: (24, 24, 3)."""
    image = decode(path.read_bytes())
    if shorter_side:
        image = centre(image, shorter_side, (shorter_side, shorter_side))
    return np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR))


def expected(model: Path, photos: Path, shorter_side: int | None = 32) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of the class folders, in order of names."""
    paths = sorted(path for path in photos.rglob("*") if path.is_file())
    images = np.stack([pixels(path, shorter_side) for path in paths])
    return TFLiteModel(model).predict(images), np.array([CLASSES.index(path.parent.name) for path in paths])


@pytest.mark.parametrize("name", ["demo.tflite", "demo_float.tflite"])
def test_eval_of_class_folders(capsys, release, photos, name):
    probabilities, labels = expected(release / name, photos)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    code, out, _ = ofa(capsys, "eval", str(release / name), "--data", str(photos), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["images"] == 10
    assert found["top1"] == (ranked[:, 0] == labels).mean()
    assert found["top5"] == (ranked[:, :5] == labels[:, None]).any(1).mean()
    code, out, _ = ofa(capsys, "eval", str(release / name), "--data", str(photos))
    assert out == (
        f"top1 {found['top1']:.2%}, top5 {found['top5']:.2%}, balanced_top1 {found['balanced_top1']:.2%} of 10 images\n"
    )
    # The same from the folder above: this is its test split.
    _, out, _ = ofa(capsys, "eval", str(release / name), "--data", str(photos.parent), "--json")
    assert json.loads(out) == found | {"split": "test", "data": str(photos.parent)}


def test_eval_of_a_table(capsys, release, photos, tmp_path):
    """labels.csv, in an archive, with the model's own answers: all are right."""
    model = release / "demo.tflite"
    probabilities, _ = expected(model, photos)
    names = sorted(path for path in photos.rglob("*") if path.is_file())
    best = probabilities.argmax(1)
    for column, values in (("label", [CLASSES[i] for i in best]), ("label", best), ("imagenet_class_index", best)):
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for i, path in enumerate(names):
                archive.write(path, f"images/{i}{path.suffix}")
            rows = [f"{i}{path.suffix},{value}" for i, (path, value) in enumerate(zip(names, values, strict=True))]
            archive.writestr("labels.csv", "\n".join([f"file,{column}", *rows]))
        code, out, _ = ofa(capsys, "eval", str(model), "--data", str(tmp_path / "data.zip"), "--json")
        assert code == 0
        assert json.loads(out)["top1"] == 1


def test_preprocessing_without_a_manifest_and_from_the_command_line(capsys, release, photos, tmp_path):
    alone = tmp_path / "model.tflite"
    alone.write_bytes((release / "demo.tflite").read_bytes())
    wide = photos / "ship/wide.png"
    for arguments, image in (
        ((release / "demo.tflite",), pixels(wide)),
        ((alone,), pixels(wide, None)),
        ((alone, "--shorter-side", "28"), np.asarray(centre(decode(wide.read_bytes()), 28, (24, 24)))),
    ):
        model, *options = map(str, arguments)
        _, out, _ = ofa(capsys, "predict", model, str(wide), *options, "--json")
        [found] = json.loads(out)["images"]
        [probabilities] = TFLiteModel(alone).predict(image[None])
        order = np.argsort(-probabilities, kind="stable")[:5]
        assert [row["index"] for row in found["top"]] == order.tolist()
        assert [row["probability"] for row in found["top"]] == pytest.approx(probabilities[order].tolist())
        labels = [CLASSES[i] if model != str(alone) else str(i) for i in order]
        assert [row["label"] for row in found["top"]] == labels


def test_predict_prints_labels(capsys, release, photos):
    paths = [str(photos / "bird/0.jpg"), str(photos / "ship/wide.png")]
    code, out, _ = ofa(capsys, "predict", str(release / "demo.tflite"), *paths)
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 2 * 6
    assert [lines[0], lines[6]] == [f"{path}:" for path in paths]
    number, label = lines[1].split(maxsplit=1)
    assert number.endswith("%")
    assert label in CLASSES


def test_bench(capsys, release):
    code, out, _ = ofa(capsys, "bench", str(release / "demo.tflite"), "--threads", "2", "--seconds", "0.05", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["latency_ms"] > 0
    assert found["latency_spread_ms"] >= 0
    assert found["threads"] == 2
    assert found["device"].endswith("2 threads")
    _, out, _ = ofa(capsys, "bench", str(release / "demo.tflite"), "--seconds", "0.05")
    assert out.splitlines()[1] == found["device"].replace("2 threads", "1 thread")


@pytest.fixture
def bad(tmp_path, photos, release):
    """The current folder, with unusable files."""
    (tmp_path / "text.tflite").write_text("text")
    (tmp_path / "half.tflite").write_bytes((release / "demo.tflite").read_bytes()[:5000])
    (tmp_path / "zeros.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    (tmp_path / "m.tflite").write_bytes((release / "demo.tflite").read_bytes())
    (tmp_path / "m.labels.txt").write_text("bird\nship\n" + "".join(f"{i}\n" for i in range(8)))
    (tmp_path / "n.tflite").write_bytes((release / "demo.tflite").read_bytes())
    (tmp_path / "n.labels.txt").write_text("bird\n")
    (tmp_path / "broken.jpg").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "corrupt/bird").mkdir(parents=True)
    (tmp_path / "corrupt/bird/1.jpg").write_bytes((photos / "bird/0.jpg").read_bytes()[:200])
    tables = {
        "range": "file,label\n1.jpg,10\n",
        "word": "file,label\n1.jpg,zebra\n",
        "index": "file,imagenet_class_index\n1.jpg,999\n",
        "gone": "file,label\n2.jpg,1\n",
        "columns": "name,label\n1.jpg,1\n",
        "header": "file,label\n",
    }
    for name, table in tables.items():
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images/1.jpg").write_bytes((photos / "bird/0.jpg").read_bytes())
        (tmp_path / name / "labels.csv").write_text(table)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("eval none.tflite --data empty", "none.tflite: no such file"),
        ("eval text.tflite --data empty", "text.tflite: not a TFLite file"),
        ("eval half.tflite --data empty", "half.tflite: "),
        ("predict zeros.tflite broken.jpg", "zeros.tflite: "),
        ("bench none.tflite", "none.tflite: no such file"),
        ("bench text.tflite", "text.tflite: not a TFLite file"),
        ("bench half.tflite", "half.tflite: "),
        ("bench m.tflite --threads 0", "--threads: 0 is less than 1"),
        ("bench m.tflite --seconds nan", "--seconds: nan is not above 0"),
        ("eval n.tflite --data empty", "n.labels.txt: 1 labels, the model has 10 outputs"),
        ("eval m.tflite --data none", "none: no such folder or .zip archive"),
        ("eval m.tflite --data empty", "empty: no images in class folders"),
        ("eval m.tflite --data corrupt", "corrupt/bird/1.jpg: "),
        ("eval m.tflite --data PHOTOS", "truck is not a class of m.labels.txt"),
        ("eval m.tflite --data PHOTOS/.. --split val", "no val in it, but test; --split tells which to use"),
        ("eval m.tflite --data range", "range/labels.csv: line 2: label 10 is out of range, the model has 10 outputs"),
        ("eval m.tflite --data word", "word/labels.csv: line 2: label 'zebra' is neither a class of m.labels.txt nor a number"),
        ("eval m.tflite --data index", "index/labels.csv: line 2: imagenet_class_index 999 is out of range"),
        ("eval m.tflite --data gone", "gone/labels.csv: line 2: 2.jpg: no such file in images/"),
        ("eval m.tflite --data columns", "columns/labels.csv: its columns are name, label, not file and label or"),
        ("eval m.tflite --data header", "header/labels.csv: no images"),
        ("eval m.tflite", "the following arguments are required: --data"),
        ("predict m.tflite none.jpg", "none.jpg: No such file or directory"),
        ("predict m.tflite broken.jpg", "broken.jpg: not a JPEG, PNG, WebP or BMP image"),
        ("predict m.tflite broken.jpg --out shown", "--out: m.tflite is not a detector"),
        ("predict m.tflite broken.jpg --min-score 0.5", "--min-score: m.tflite is not a detector"),
        ("predict m.tflite broken.jpg --shorter-side 20", "--shorter-side: 20 is less than the model's 24 pixels"),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, bad, photos, arguments, message):
    monkeypatch.chdir(bad)
    code, out, err = ofa(capsys, *arguments.replace("PHOTOS", str(photos)).split())
    assert (code, out) == (2, "")
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line


@pytest.mark.parametrize("task", ["segmentation", ["classification"], None])
def test_a_task_that_is_not_known_is_one_line(capsys, release, photos, tmp_path, task):
    """The meaning of its outputs would be a guess."""
    shutil.copytree(release, tmp_path / "release")
    manifest = tmp_path / "release/manifest.json"
    content = files.read_json(manifest)
    content["models"][0]["task"] = task
    files.write_json(manifest, content)
    for command in (("predict", str(photos / "bird/0.jpg")), ("eval", "--data", str(photos))):
        code, out, err = ofa(capsys, command[0], str(tmp_path / "release/demo.tflite"), *command[1:])
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {manifest}: task: ")
        assert err.endswith(" is not one of classification, detection\n")
    content["models"][0]["task"] = "detection"
    files.write_json(manifest, content)
    code, _, err = ofa(capsys, "predict", str(tmp_path / "release/demo.tflite"), str(photos / "bird/0.jpg"))
    assert (code, err) == (
        2,
        f"error: {manifest}: task: 'detection', but the outputs of demo.tflite are those of classification\n",
    )
    content["models"][0].pop("task")
    files.write_json(manifest, content)
    code, _, err = ofa(capsys, "predict", str(tmp_path / "release/demo.tflite"), str(photos / "bird/0.jpg"))
    assert (code, err) == (2, f"error: {manifest}: not a release's manifest; `ofa verify` checks one\n")


def test_released_labels_and_folders_of_another_set(capsys, release, tmp_path):
    """Without a labels file, there must be one class folder per output."""
    (tmp_path / "m.tflite").write_bytes((release / "demo.tflite").read_bytes())
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (30, 30)).save(tmp_path / "data" / name / "1.png")
    code, _, err = ofa(capsys, "eval", str(tmp_path / "m.tflite"), "--data", str(tmp_path / "data"))
    assert code == 2
    assert "2 class folders, the model has 10 outputs and no m.labels.txt" in err


def test_the_release_of_own_images(tmp_path, monkeypatch):
    """Stage checksum on an untrained network: the manifest has the folder, no licence, and how images are made square."""
    export(tmp_path, SPACE.smallest(24), monkeypatch)
    for target in ("fast", "medium", "accurate"):
        shutil.copytree(paths.exported("demo"), paths.exported(target))
        for suffix, values in ((".json", {"top1": 0.5}), (paths.DETAILS, {"split": "test"})):
            files.write_json(paths.report("evaluate", target, suffix), values)
    files.write_json(paths.DATASET_FACTS, {"dataset": "things", "classes": ["a", "b"], "shorter_side": 32})
    text = (REPO / "params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("  targets:\n    small: {fraction: 0.8}\n", "  targets: {}\n"))
    checksum.main()
    assert verify("release") == []
    entry = files.read_json("release/manifest.json")["models"][0]
    assert entry["metrics"] == {"split": "test", "top1": 0.5}
    assert entry["dataset"] == "things"
    assert "dataset_license" not in entry
    assert entry["preprocessing"]["shorter_side"] == 32
    assert entry["preprocessing"]["resize_to"] == [24, 24]
    assert "trained on things." in Path("release/ofa-fast.md").read_text()


def test_published_photos(capsys, release, tmp_path):
    """The table of the shared photos is read. It has more classes than the model."""
    archive = shared_data("images/imagenet_photos.zip")
    code, _, err = ofa(capsys, "eval", str(release / "demo.tflite"), "--data", str(archive))
    assert code == 2
    assert "labels.csv: line 5: imagenet_class_index 10 is out of range" in err
    with Tree(archive) as tree:
        rows = list(csv.DictReader(tree.read("labels.csv").decode().splitlines()))[:3]
        (tmp_path / "images").mkdir()
        for row in rows:
            (tmp_path / "images" / row["file"]).write_bytes(tree.read(f"images/{row['file']}"))
    text = "\n".join(["file,imagenet_class_index", *(f"{row['file']},{row['imagenet_class_index']}" for row in rows)])
    (tmp_path / "labels.csv").write_text(text)
    code, out, _ = ofa(capsys, "eval", str(release / "demo.tflite"), "--data", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out)["images"] == 3
