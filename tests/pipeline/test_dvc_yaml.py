"""dvc.yaml against the code: dependencies are what a stage imports, parameters exist, artifacts are what is released."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ofa_core.run.params import ParamsFile
from tests.conftest import REPO
from tests.import_closure import import_closure

DVC: dict[str, Any] = yaml.safe_load((REPO / "dvc.yaml").read_text())
STAGES = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
PARAMS = ParamsFile(REPO / "params.yaml")


def code(deps: list[str]) -> list[str]:
    return sorted(dep for dep in deps if dep.endswith(".py"))


def test_a_stage_a_module() -> None:
    modules = {path.stem for path in (REPO / "stages").glob("*.py")} - {"__init__"}
    assert set(STAGES) == modules


@pytest.mark.parametrize("name", STAGES)
def test_dependencies_are_the_import_closure(name: str) -> None:
    listed, imported = code(STAGES[name]["deps"]), import_closure(REPO / f"stages/{name}.py")
    assert listed == imported, f"missing {set(imported) - set(listed)}, surplus {set(listed) - set(imported)}"


@pytest.mark.parametrize("name", STAGES)
def test_command_and_description(name: str) -> None:
    assert re.match(rf"(python|\$\{{machine.launcher\}}) -m stages\.{name}\b", STAGES[name]["cmd"])
    assert STAGES[name]["desc"].endswith(".")


@pytest.mark.parametrize("name", STAGES)
def test_tracked_parameters_exist_and_are_read(name: str) -> None:
    source = (REPO / f"stages/{name}.py").read_text()
    # Calls of params.read, with the stage's item in braces, and the parameters that paths in dvc.yaml are made with.
    read = {re.sub(r"\{\w+\}", "${key}", section) for section in re.findall(r'params\.read\(f?"([^"]+)"', source)}
    assert read == set(STAGES[name]["params"])
    each = list(PARAMS.raw(DVC["stages"][name]["foreach"][2:-1])) if "foreach" in DVC["stages"][name] else [""]
    for section in read:
        for key in each:
            PARAMS.raw(section.replace("${key}", key))


def test_training_does_not_depend_on_what_follows() -> None:
    for name in ("train_supernet", "shrink"):
        later = [dep for dep in code(STAGES[name]["deps"]) if re.search(r"/(search|latency|measure|export|predictor)/", dep)]
        assert not later


def test_artifacts_are_the_released_models() -> None:
    paths = {name: artifact["path"] for name, artifact in DVC["artifacts"].items()}
    assert paths == {f"ofa-{target}": f"release/ofa-{target}.tflite" for target in PARAMS.raw("search.targets")}
    for path in paths.values():
        assert (REPO / path).is_file()


def test_lock_holds_the_stages_of_the_pipeline_and_no_other() -> None:
    lock = yaml.safe_load((REPO / "dvc.lock").read_text())
    expected = set()
    for name, stage in DVC["stages"].items():
        items = list(PARAMS.raw(stage["foreach"][2:-1])) if "foreach" in stage else [None]
        expected |= {name if item is None else f"{name}@{item}" for item in items}
    assert set(lock["stages"]) == expected


def test_metrics_and_release_are_tracked_by_git() -> None:
    for stage in STAGES.values():
        for out in [*stage.get("metrics", []), *stage.get("plots", [])]:
            [(path, options)] = out.items()
            assert path.startswith("reports/")
            assert options["cache"] is False
    assert STAGES["checksum"]["outs"] == [{"release": {"cache": False}}]


def test_stages_are_thin() -> None:
    for path in (REPO / "stages").glob("*.py"):
        assert len(Path(path).read_text().splitlines()) <= 66
