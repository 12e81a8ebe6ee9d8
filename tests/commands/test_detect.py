"""`ofa predict`, `ofa eval` and `ofa verify --contract detection` on a detector."""

import json
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from ofa_core.images.decode import decode
from ofa_core.images.tree import Tree
from ofa_core.release.card import model_card
from ofa_core.run import files
from ofa_core.runtime.detector import TFLiteDetector, class_count
from ofa_core.tasks import get_task
from tests.commands import colours
from tests.commands.test_main import ofa
from tests.conftest import REPO, shared_data

TASK = get_task("detection")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Detectors of three classes with names, and of 90 without."""
    top = tmp_path_factory.mktemp("models")
    for name in ("named", "ninety"):
        (top / name).mkdir()
    return colours.detector(top / "named"), colours.detector(top / "ninety", names=None, classes=90)


@pytest.fixture(scope="module")
def raccoons(tmp_path_factory):
    """Four photos of different sizes with their annotations."""
    root = tmp_path_factory.mktemp("raccoons")
    with Tree(shared_data("images/raccoon.zip")) as tree:
        for number in (1, 5, 15, 100):
            for name in (f"images/raccoon-{number}.jpg", f"annotations/raccoon-{number}.xml"):
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).write_bytes(tree.read(name))
    return root


def test_a_detector_keeps_the_contract(capsys, models):
    for model in models:
        code, out, _ = ofa(capsys, "verify", "--contract", "detection", str(model))
        assert (code, out) == (0, "d.tflite: OK\n")
        code, out, _ = ofa(capsys, "verify", "--contract", "classification", str(model))
        assert (code, out) == (1, "d.tflite: output: 4 of them, expected one [1, 1001]\n")


def test_the_number_of_classes(models):
    assert [class_count(model.read_bytes()) for model in models] == [3, 90]


@pytest.mark.parametrize("regular", [True, False])
def test_a_blank_image_after_a_full_one(tmp_path, regular):
    """Fast suppression leaves old rows after the count."""
    model = TFLiteDetector(colours.detector(tmp_path, use_regular_nms=regular))
    full = np.asarray(colours.picture({(1, 1): "red", (2, 3): "blue"}, colours.SIDE, colours.SIDE))
    answers = TASK.answers(TASK.named(*model.predict(np.stack([full, np.zeros_like(full), full]))))
    assert answers.shape == (3, 100, 6)
    assert [len(found.boxes) for found in TASK.found(answers)] == [2, 0, 2]
    np.testing.assert_array_equal(answers[0], answers[2])
    assert (answers[1] == [0, 0, 0, 0, -1, 0]).all()


@pytest.mark.parametrize("form", [colours.coco, colours.voc])
def test_eval_by_names(capsys, models, tmp_path, form):
    data = form(tmp_path / "data")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", data)
    for path in (data, archive):
        code, out, _ = ofa(capsys, "eval", str(models[0]), "--data", str(path), "--json")
        assert code == 0
        found = json.loads(out)
        assert (found["split"], found["images"]) == ("train", 3)
        assert [found[key] for key in TASK.scores] == [1.0, 1.0, 1.0, 1.0, None, None, 1.0]
        assert found["map_by_class"] == {"red": 1.0, "green": 1.0, "blue": 1.0}
    code, out, _ = ofa(capsys, "eval", str(models[0]), "--data", str(data))
    assert out == (
        "map 100.00%, ap50 100.00%, ap75 100.00%, map_small 100.00%, map_medium none, map_large none, ovic_map 100.00% "
        "of 3 images\n100.00%  red\n100.00%  green\n100.00%  blue\n"
    )


def test_eval_in_another_order_of_classes(capsys, models, tmp_path):
    """By names, the ids do not matter. Only red is found under its own name here."""
    shutil.copy(models[0], tmp_path / "d.tflite")
    (tmp_path / "d.labels.txt").write_text("red\nblue\ngreen\n")
    data = colours.coco(tmp_path / "data")
    found = json.loads(ofa(capsys, "eval", str(tmp_path / "d.tflite"), "--data", str(data), "--json")[1])
    assert found["map_by_class"] == {"red": 1.0, "blue": 0.0, "green": 0.0}
    assert found["ovic_map"] == pytest.approx(1 / 3)


def test_eval_by_ids_and_by_alphabet(capsys, models, tmp_path):
    """Without labels: COCO's class is the id less 1. VOC's classes are sorted: blue, green, red."""
    model = tmp_path / "d.tflite"
    shutil.copy(models[0], model)
    data = colours.coco(tmp_path / "coco", (("green", 2), ("red", 1), ("blue", 3)))
    assert json.loads(ofa(capsys, "eval", str(model), "--data", str(data), "--json")[1])["map"] == 1.0
    data = colours.voc(tmp_path / "voc")
    found = json.loads(ofa(capsys, "eval", str(model), "--data", str(data), "--json")[1])
    assert found["map_by_class"] == {"0": 0.0, "1": 1.0, "2": 0.0}


def test_predict_reports_boxes(capsys, models, tmp_path):
    path = tmp_path / "p.png"
    colours.picture({(0, 2): "green"}, colours.SIDE, colours.SIDE).save(path)  # needs no resizing, which mixes colours
    code, out, _ = ofa(capsys, "predict", str(models[0]), str(path), "--json")
    assert code == 0
    [image] = json.loads(out)["images"]
    [row] = image["boxes"]
    assert (row["index"], row["label"], row["score"]) == (1, "green", pytest.approx(1))
    assert row["box"] == pytest.approx([0, 0.5, 0.25, 0.75])
    code, out, _ = ofa(capsys, "predict", str(models[0]), str(path))
    assert out == f"{path}:\n100.00%   0.000  0.500  0.250  0.750  green\n"
    Image.new("RGB", (40, 30)).save(path)
    code, out, _ = ofa(capsys, "predict", str(models[0]), str(path), "--min-score", "0.5")
    assert out == f"{path}:\nnothing with a score of 50% or more\n"


def test_predict_draws_on_photos(capsys, models, raccoons, tmp_path):
    """In the photo's size; the edge of the best box has its colour, which the photo does not have there."""
    photos = sorted((raccoons / "images").iterdir())
    arguments = ["predict", str(models[0]), *map(str, photos), "--out", str(tmp_path / "new/shown"), "--json"]
    code, out, _ = ofa(capsys, *arguments)
    assert code == 0
    for photo, image in zip(photos, json.loads(out)["images"], strict=True):
        shown = Image.open(tmp_path / "new/shown" / f"{photo.stem}.png")
        before = decode(photo.read_bytes())
        assert image["drawn"].endswith(f"{photo.stem}.png")
        assert shown.size == before.size
        assert 1 <= len(image["boxes"]) <= 100
        _, left, bottom, right = image["boxes"][0]["box"]
        corner = (round((left + right) / 2 * (shown.width - 1)), int(bottom * (shown.height - 1)))
        assert shown.getpixel(corner) != before.getpixel(corner)
        everywhere = [row["score"] for row in image["boxes"]]
        assert everywhere == sorted(everywhere, reverse=True)
        assert everywhere[-1] >= 0.3


def test_eval_of_photos(capsys, models, raccoons, tmp_path):
    """Cells are no raccoons. As many as are found in the four photos, with their own classes' names."""
    model = tmp_path / "d.tflite"
    shutil.copy(models[0], model)
    (tmp_path / "d.labels.txt").write_text("raccoon\ncat\ndog\n")
    code, out, _ = ofa(capsys, "eval", str(model), "--data", str(raccoons), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["images"] == 4
    assert list(found["map_by_class"]) == ["raccoon"]
    assert 0 <= found["map"] < 0.2
    assert 0 <= found["ovic_map"] < 0.2


def test_eval_of_coco(capsys, models):
    data = shared_data("images/tiny_coco.zip")
    code, out, _ = ofa(capsys, "eval", str(models[1]), "--data", str(data), "--split", "val", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["split"], found["images"]) == ("val", 6)
    assert 0 <= found["map"] < 0.2
    assert "0" in found["map_by_class"]  # people, id 1
    code, _, err = ofa(capsys, "eval", str(models[1]), "--data", str(data))
    assert (code, err) == (2, f"error: {data}: no test in it, but train, val; --split tells which to use\n")


def test_starts_without_the_heavy_libraries(models, tmp_path):
    """Importing what it needs takes about a second."""
    data, path = colours.coco(tmp_path / "data"), tmp_path / "data/0.png"
    program = (
        "import sys; from ofa_core.commands.main import main; model, data, image, out = sys.argv[1:];"
        "codes = main(['predict', model, image, '--out', out]), main(['eval', model, '--data', data]);"
        "heavy = {'torch', 'tensorflow', 'dvc', 'pydantic', 'pandas', 'scipy', 'matplotlib', 'onnx', 'requests'};"
        "print(codes, sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, *map(str, (models[0], data, path, tmp_path / "out"))]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(0, 0) []"
    assert time.perf_counter() - started < 10


@pytest.fixture
def bad(tmp_path, models):
    """The current folder, with what does not fit."""
    for name in ("d", "few", "other"):
        shutil.copy(models[0], tmp_path / f"{name}.tflite")
    (tmp_path / "d.labels.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "few.labels.txt").write_text("red\n")
    (tmp_path / "other.labels.txt").write_text("cat\ndog\nbird\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"x")
    colours.coco(tmp_path / "coco")
    colours.voc(tmp_path / "voc")
    colours.coco(tmp_path / "none", pictures=())
    colours.coco(tmp_path / "cut")
    (tmp_path / "cut/1.png").write_bytes((tmp_path / "cut/1.png").read_bytes()[:60])
    for name in ("a/0.png", "b/0.png"):
        (tmp_path / name).parent.mkdir()
        colours.picture({}).save(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("notes.txt", "no images")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("eval d.tflite --data empty", "empty: no JSON file with images, annotations and categories"),
        ("eval d.tflite --data text.zip", "text.zip: no JSON file with images, annotations and categories"),
        ("eval d.tflite --data none", "none: no images in its annotations"),
        ("eval d.tflite --data nowhere", "nowhere: no such folder or .zip archive"),
        ("eval d.tflite --data cut", "cut/1.png: "),
        ("eval few.tflite --data coco", "few.labels.txt: 1 labels, the model has 3 classes"),
        ("predict few.tflite a/0.png", "few.labels.txt: 1 labels, the model has 3 classes"),
        ("eval other.tflite --data voc", "voc: blue is not a class of other.labels.txt"),
        ("eval other.tflite --data coco", "coco: the id of category green is 7; the model has 3 classes and other.labels.txt"),
        ("eval d.tflite --data coco --shorter-side 64", "--shorter-side: d.tflite is a detector, which sees the whole image"),
        ("predict d.tflite a/0.png --shorter-side 64", "--shorter-side: d.tflite is a detector"),
        ("predict d.tflite none.jpg", "none.jpg: No such file or directory"),
        ("predict d.tflite broken.jpg", "broken.jpg: not a JPEG, PNG, WebP or BMP image"),
        ("predict d.tflite a/0.png --min-score 2", "--min-score: 2.0 is not between 0 and 1"),
        ("predict d.tflite a/0.png b/0.png --out shown", "--out: a/0.png and b/0.png would both become shown/0.png"),
        ("predict d.tflite a/0.png --out a", "--out: a/0.png is one of the images; name another folder"),
        ("predict d.tflite a/0.png --out broken.jpg", "broken.jpg"),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, bad, arguments, message):
    monkeypatch.chdir(bad)
    code, out, err = ofa(capsys, *arguments.split())
    assert (code, out) == (2, "")
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line


def test_a_manifest_with_another_task(capsys, bad):
    entry = {"task": "classification", "preprocessing": {}, "files": {"uint8": {"name": "d.tflite"}}}
    files.write_json(bad / "manifest.json", {"models": [entry]})
    code, _, err = ofa(capsys, "predict", str(bad / "d.tflite"), str(bad / "a/0.png"))
    assert (code, err) == (
        2,
        f"error: {bad / 'manifest.json'}: task: 'classification', but the outputs of d.tflite are those of detection\n",
    )


def test_without_pycocotools(capsys, monkeypatch, bad):
    """Told before any image is read. Predictions need none."""
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    code, _, err = ofa(capsys, "eval", str(bad / "d.tflite"), "--data", str(bad / "coco"))
    assert (code, err) == (
        2,
        "error: ofa eval needs pycocotools, which is not installed: pip install 'ofa_core[detection]'\n",
    )
    assert ofa(capsys, "predict", str(bad / "d.tflite"), str(bad / "a/0.png"))[0] == 0


def test_the_program_on_the_card(models, tmp_path):
    """Runs as it is, next to the model and an image."""
    shutil.copy(models[0], tmp_path / "d.tflite")
    (tmp_path / "d.labels.txt").write_text("red\ngreen\nblue\n")
    colours.picture({(0, 2): "green", (3, 0): "blue"}, colours.SIDE, colours.SIDE).save(tmp_path / "image.png")
    listed = {kind: {"name": f"d.{suffix}"} for kind, suffix in (("uint8", "tflite"), ("labels", "labels.txt"))}
    listed = {kind: file | {"bytes": 1, "md5": "0", "sha256": "0"} for kind, file in listed.items()}
    side = [colours.SIDE] * 2
    card = model_card(
        {
            "id": "d",
            "task": "detection",
            "dataset": "colours",
            "files": listed,
            "metrics": {"split": "test", "map": 0.5, "map_large": None},
            "arch": None,
            "input": {"size": side, "channels": 3, "dtype": "uint8", "scale": 1.0, "zero_point": 0},
            "preprocessing": {"resize": "bilinear", "resize_to": side, "crop": None, "mean": 0.0, "std": 1.0},
        }
    )
    program = card.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(line.split()[:2] for line in done.stdout.splitlines()) == [["blue", "1.0"], ["green", "1.0"]]
    assert "| map | 50.00% |" in card
