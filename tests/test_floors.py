"""The floors of the architecture: an import goes down, never up or around (docs/architecture.md)."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

FLOORS = {
    "arch": 1, "layers": 1, "space": 1, "spaces": 1, "costs": 1, "params": 1, "files": 1, "stage": 1, "download": 1,
    "netconfig": 1, "baselines": 1,
    "nn": 2,
    "data": 3, "predictor": 3, "latency": 3, "quantization": 3, "zoo": 3,
    "training": 4, "search": 4,
    "export": 5,
    "measure": 6,
    "cli": 7, "ovic": 7, "report": 7, "release": 7, "card": 7, "check": 7, "publish": 7,
}  # fmt: skip
MODULES = sorted((REPO / "ofa_core").rglob("*.py"))


def room(path: Path) -> str:
    """The part of ofa_core a file belongs to."""
    return path.relative_to(REPO / "ofa_core").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO)))
def test_imports_go_down(path: Path) -> None:
    if path.parent == REPO / "ofa_core" and path.name == "__init__.py":
        assert path.read_text() == ""
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "ofa_core" else node.module for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ofa_core" and parts[1] != room(path):
                below = FLOORS[parts[1]] < FLOORS[room(path)]
                same_ground = FLOORS[parts[1]] == FLOORS[room(path)] in (1, 7)  # single modules share the first and last floor
                assert below or same_ground, f"{path.name} on floor {FLOORS[room(path)]} imports {name}"
            assert parts[0] != "stages"
            if parts[0] == "tensorflow":
                assert room(path) == "export"
            if parts[0] in ("torch", "tensorflow"):
                assert FLOORS[room(path)] > 1


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ofa_core.release", ["torch", "tensorflow", "numpy"]),
        ("ofa_core.check", ["torch", "tensorflow"]),
        ("ofa_core.latency.table", ["torch", "tensorflow"]),
        ("ofa_core.search", ["torch", "tensorflow"]),
        ("ofa_core.training.loop", ["tensorflow"]),
    ],
)
def test_light_modules_stay_light(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print(*(name for name in {absent} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_public_names() -> None:
    """What users import; the README and docs rely on these."""
    names = {
        "ofa_core.arch": "Arch",
        "ofa_core.latency": "LatencyTable",
        "ofa_core.nn": "build_supernet",
        "ofa_core.predictor": "AccuracyPredictor",
        "ofa_core.search": "search",
        "ofa_core.spaces": "get_space",
        "ofa_core.zoo": "load_official",
    }
    for module, name in names.items():
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_size_of_modules_and_functions() -> None:
    for path in [*MODULES, *(REPO / "stages").glob("*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 420, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, f"{path}: {node.name}"
