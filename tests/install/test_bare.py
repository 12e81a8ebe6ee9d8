"""`pip install .` without extras, in a new virtual environment: what runs, and what names the extra it needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPO

pytestmark = pytest.mark.slow
RELEASE = REPO / "release"
MODEL = RELEASE / "ofa-fast.tflite"
LABELS = (RELEASE / "ofa-fast.labels.txt").read_text().splitlines()
CLASSES = [label for label in LABELS if "/" not in label][:2]
"""Those that can be a folder name."""
UNREACHABLE = ("connection broken", "Failed to establish a new connection", "Temporary failure in name resolution")
"""pip's message without a network."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the environment's programs."""
    top = tmp_path_factory.mktemp("bare")
    source = top / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, source / name)
    before = {path.name for path in source.iterdir()}
    subprocess.run([sys.executable, "-m", "venv", top / "venv"], check=True)
    programs = top / "venv/bin"
    install = [programs / "python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", source]
    done = subprocess.run(install, capture_output=True, text=True, check=False, env=environment())
    if done.returncode and any(words in done.stderr for words in UNREACHABLE):
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in source.iterdir()} - {"ofa_core.egg-info", ".work"} == before
    return programs


def environment() -> dict[str, str]:
    """That of the process, without what exposes the repository."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def ofa(programs: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [programs / "ofa", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment())


def passed(done: subprocess.CompletedProcess[str]) -> str:
    """A command's output."""
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with two images each."""
    for number, name in enumerate(CLASSES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (40 + i, 36), (80 * number, 90 * i, 120)).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_only_what_it_needs_is_installed(bare: Path) -> None:
    listed = subprocess.run([bare / "python", "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    names = {package["name"].lower().replace("_", "-") for package in json.loads(listed.stdout)}
    assert {"ofa-core", "numpy", "pillow", "ai-edge-litert"} <= names
    absent = {
        "torch",
        "tensorflow",
        "tensorflow-cpu",
        "dvc",
        "pandas",
        "pydantic",
        "scipy",
        "matplotlib",
        "onnx",
        "ruamel.yaml",
    }
    assert not absent & names


def test_a_release_is_verified(bare: Path, tmp_path: Path) -> None:
    assert passed(ofa(bare, tmp_path, "--version")).startswith("ofa ")
    assert "ofa-fast.tflite: OK" in passed(ofa(bare, tmp_path, "verify", RELEASE)).splitlines()


def test_a_model_is_run(bare: Path, photos: Path) -> None:
    image = photos / CLASSES[0] / "0.png"
    [found] = json.loads(passed(ofa(bare, photos, "predict", MODEL, image, "--json")))["images"]
    assert found["file"] == str(image)
    assert {row["label"] for row in found["top"]} <= set(LABELS)
    assert len(found["top"]) == 5
    score = json.loads(passed(ofa(bare, photos, "eval", MODEL, "--data", photos, "--json")))
    assert score["images"] == 4
    assert 0 <= score["top1"] <= score["top5"] <= 1
    timing = json.loads(passed(ofa(bare, photos, "bench", MODEL, "--seconds", 0.1, "--json")))
    assert timing["latency_ms"] > 0
    assert "ai-edge-litert" in timing["device"]


def test_the_environment_gives_the_same_answers(bare: Path, photos: Path) -> None:
    """As that of the tests."""
    image = photos / CLASSES[1] / "1.png"
    here = [sys.executable, "-m", "ofa_core.commands.main", "predict", MODEL, image, "--json"]
    expected = subprocess.run(here, cwd=REPO, capture_output=True, text=True, check=True)
    assert json.loads(passed(ofa(bare, photos, "predict", MODEL, image, "--json"))) == json.loads(expected.stdout)


def test_costs_and_scores(bare: Path, tmp_path: Path) -> None:
    """The package has the table of published networks that `ofa score` compares with."""
    assert "total" in passed(ofa(bare, tmp_path, "cost", "ofa_mbv3", "--smallest"))
    assert "points" in passed(ofa(bare, tmp_path, "score", "--latency-ms", 30, "--top1", 0.7))
    assert "ofa_resnet50" in passed(ofa(bare, tmp_path, "fetch", "--list")).split()
    for command in ("search", "export", "check"):
        assert "--json" in passed(ofa(bare, tmp_path, command, "--help"))


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("search", "--predictor", "p.npz", "--macs", "1e6"), "train"),
        (("search", "--predictor", "p.npz", "--macs", "1e6", "--front", "f.csv", "--plot", "f.svg"), "pipeline"),
        (("check", "params.yaml"), "train"),
        (("export", "net.safetensors", "--out", "out"), "export"),
    ],
)
def test_a_command_names_the_extra_it_needs(bare: Path, tmp_path: Path, arguments: tuple[str, ...], extra: str) -> None:
    done = ofa(bare, tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: ofa {arguments[0]} needs ")
    assert done.stderr.endswith(f", which is not installed: pip install 'ofa_core[{extra}]'\n")
    assert done.stderr.count("\n") == 1
