"""The floors of the architecture: imports go down, never up or in a circle (docs/architecture.md)."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests import floors
from tests.conftest import REPO


def test_every_room_has_its_floor() -> None:
    rooms = {floors.room(name) for name in floors.modules()} - {""}
    assert rooms == set(floors.FLOORS)
    assert {path.name for path in floors.PACKAGE.iterdir() if path.suffix == ".py"} == {"__init__.py"}
    assert (floors.PACKAGE / "__init__.py").read_text() == ""


def test_imports_go_down() -> None:
    assert floors.climbing() == []
    assert floors.circle() == []


@pytest.mark.parametrize("package", ["tensorflow", "torch", "dvc"])
def test_heavy_packages_stay_in_their_rooms(package: str) -> None:
    light = {
        "run",
        "space",
        "images",
        "detection",
        "datasets",
        "runtime",
        "latency",
        "search",
        "zoo",
        "release",
        "profiles",
        "commands",
    }
    for name, path in floors.modules().items():
        text = path.read_text()
        found = [node for node in ast.walk(ast.parse(text)) if _imports(node, package)]
        if package == "dvc":
            assert not found, name
        elif package == "tensorflow":
            assert not found, f"{name}: TensorFlow is imported by ofa_core.convert.tensorflow alone"
            # Two others name the package without importing it.
            named = ("ofa_core.convert.tensorflow", "ofa_core.runtime.device_record", "ofa_core.commands.extras")
            assert 'import_module("tensorflow' not in text or name in named, name
        else:
            assert not found or floors.room(name) not in light, name


def _imports(node: ast.AST, package: str) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module]
    return any(name.partition(".")[0] == package for name in names)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ofa_core.release.verify", ["torch", "tensorflow", "numpy"]),
        ("ofa_core.detection.postprocess", ["torch", "tensorflow", "pydantic", "scipy"]),
        ("ofa_core.tasks", ["torch", "tensorflow", "pandas", "scipy"]),
        ("ofa_core.profiles.check", ["torch", "tensorflow"]),
        ("ofa_core.latency.table", ["torch", "tensorflow"]),
        ("ofa_core.search.engine", ["torch", "tensorflow"]),
        ("ofa_core.training.loop", ["tensorflow"]),
    ],
)
def test_light_modules_stay_light(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print(*(name for name in {absent} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ofa_core.space", "Arch"),
        ("ofa_core.space", "get_space"),
        ("ofa_core.nn", "build_supernet"),
        ("ofa_core.nn", "load_official"),
        ("ofa_core.latency", "LatencyTable"),
        ("ofa_core.predictor", "AccuracyPredictor"),
        ("ofa_core.search", "search"),
    ],
)
def test_public_names(module: str, name: str) -> None:
    """Names that users import. README and docs rely on them."""
    assert hasattr(importlib.import_module(module), name)


def test_size_of_modules_and_functions() -> None:
    for path in [*floors.modules().values(), *(REPO / "stages").glob("*.py")]:
        text = Path(path).read_text()
        assert len(text.splitlines()) <= 420, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, f"{path}: {node.name}"
