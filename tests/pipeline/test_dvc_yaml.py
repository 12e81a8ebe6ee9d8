"""dvc.yaml against the code: dependencies are the imports of a stage, parameters exist, reports are where it says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ofa_core.run import paths
from ofa_core.run.params import ParamsFile
from ofa_core.run.stage import METRICS
from tests.conftest import REPO
from tests.floors import graph, imports, modules, room

DVC: dict[str, Any] = yaml.safe_load((REPO / "dvc.yaml").read_text())
STAGES = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
PARAMS = ParamsFile(REPO / "params.yaml")


SWITCH = "${detectors}"
"""The list that leaves stages of detection out where it is empty. It has one item, which names of files do not show."""
UNTRACKED = {"run"}
"""Folders that no stage depends on: they read parameters and write files, but cannot change a result."""


def closure(script: Path) -> set[str]:
    """The modules of ofa_core that a file imports, directly or not, also inside functions, with their packages."""
    known, imported = modules(), graph()
    found: set[str] = set()
    todo = list(imports(script, known))
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [*imported[name], *(package for package in known if name.startswith(f"{package}."))]
    return found


def code(deps: list[str]) -> list[str]:
    """The code dependencies of a stage."""
    return [dep for dep in deps if dep.startswith(("ofa_core", "stages"))]


def items(name: str) -> list[str]:
    """The items of a stage with `foreach`; otherwise, one without a name."""
    return list(PARAMS.raw(DVC["stages"][name]["foreach"][2:-1])) if "foreach" in DVC["stages"][name] else [""]


def item_of(name: str) -> str | None:
    """What stands for the item of a stage in the names of its reports; None if the stage runs once."""
    return None if DVC["stages"][name].get("foreach") in (None, SWITCH) else "${key}"


def outputs(stage: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The outputs of a stage as (path, options); kind: outs, metrics or plots."""
    return [(out, {}) if isinstance(out, str) else next(iter(out.items())) for out in stage.get(kind, [])]


def test_a_stage_a_module() -> None:
    modules = {path.stem for path in (REPO / "stages").glob("*.py")} - {"__init__"}
    assert set(STAGES) == modules


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_folders_imported_from(name: str) -> None:
    """A missing folder would leave an edit unnoticed. One too many would rerun a stage for nothing."""
    folders = {room(module) for module in closure(REPO / f"stages/{name}.py")} - UNTRACKED - {""}
    assert code(STAGES[name]["deps"]) == [*sorted(f"ofa_core/{folder}" for folder in folders), f"stages/{name}.py"]


@pytest.mark.parametrize("name", STAGES)
def test_command_and_description(name: str) -> None:
    trains = "joined(" in (REPO / f"stages/{name}.py").read_text()  # on one or several processes
    start = f"python -m ofa_core.run.launch {name}" if trains else f"python -m stages.{name}"
    assert STAGES[name]["cmd"].partition(" --")[0] == start
    assert STAGES[name]["desc"].endswith(".")


@pytest.mark.parametrize("name", STAGES)
def test_tracked_parameters_exist_and_are_read(name: str) -> None:
    source = (REPO / f"stages/{name}.py").read_text()
    # Calls of params.read, with the stage's item in braces, and the parameters in paths of dvc.yaml.
    read = {re.sub(r"\{\w+\}", "${key}", section) for section in re.findall(r'params\.read\(f?"([^"]+)"', source)}
    assert read == set(STAGES[name]["params"])
    for section in read:
        for key in items(name):
            PARAMS.raw(section.replace("${key}", key))


def test_training_does_not_depend_on_what_follows() -> None:
    later = {"datasets", "predictor", "latency", "runtime", "convert", "measure", "export", "evaluation", "search", "report"}
    for name in ("train_supernet", "shrink", "train_baselines", "specialize"):
        assert not later & {Path(dep).name for dep in code(STAGES[name]["deps"])}


def test_val_images_do_not_time_the_layers_again() -> None:
    """They change the packed images, but no latency table depends on those."""
    for name in ("build_latency_table", "checksum"):
        assert [dep for dep in STAGES[name]["deps"] if dep.startswith("build/data")] == [str(paths.DATASET_FACTS)]
        assert not [section for section in STAGES[name]["params"] if section.startswith("prepare")]


def test_every_phase_is_in_the_plot_of_losses() -> None:
    [losses] = [plot["losses"] for plot in DVC["plots"] if "losses" in plot]
    curves = [paths.report("train_supernet", suffix=".csv"), *(paths.report("shrink", p, ".csv") for p in items("shrink"))]
    assert losses["y"] == {str(path): "loss" for path in curves}
    assert losses["x"] == "epoch"


@pytest.mark.parametrize("name", STAGES)
def test_metrics_have_their_details_beside_them(name: str) -> None:
    stage = STAGES[name]
    item = item_of(name)
    metrics = [path for path, _ in outputs(stage, "metrics")]
    details = [path for path, _ in outputs(stage, "outs") if path.endswith(paths.DETAILS)]
    writes = "stage.write_report(" in (REPO / f"stages/{name}.py").read_text()
    assert metrics == [str(paths.report(name, item))] * writes
    assert details == [str(paths.report(name, item, paths.DETAILS))] * writes


def test_metrics_fit_the_terminal() -> None:
    """`dvc metrics show` pads a column to its name or to 7 characters, with four spaces before it."""
    assert len(METRICS) <= 8
    longest = max(
        len(path.replace("${key}", item))
        for name, stage in STAGES.items()
        for path, _ in outputs(stage, "metrics")
        for item in items(name)
    )
    assert longest + sum(4 + max(len(name), 7) for name in METRICS) <= 120


def test_artifacts_are_the_released_models() -> None:
    paths = {name: artifact["path"] for name, artifact in DVC["artifacts"].items()}
    names = [f"ofa-{target}" for target in PARAMS.raw("search.targets")]
    names += [f"det-{target}" for target in PARAMS.raw("search_detector.targets")]
    assert paths == {name: f"release/{name}.tflite" for name in names}
    for path in paths.values():
        assert (REPO / path).is_file()


def test_lock_holds_the_stages_of_the_pipeline_and_no_other() -> None:
    lock = yaml.safe_load((REPO / "dvc.lock").read_text())
    expected = {f"{name}@{item}" if item else name for name in DVC["stages"] for item in items(name)}
    assert set(lock["stages"]) == expected


def test_reports_and_release_are_tracked_by_git() -> None:
    for stage in STAGES.values():
        found = [out for kind in ("outs", "metrics", "plots") for out in outputs(stage, kind)]
        assert all(path.startswith("reports/") for path, _ in outputs(stage, "metrics") + outputs(stage, "plots"))
        for path, options in found:
            assert options.get("cache", True) is path.startswith("build/"), path
    assert STAGES["checksum"]["outs"] == [{"release": {"cache": False}}]


def test_stages_are_thin() -> None:
    for path in (REPO / "stages").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 66


def test_the_pipeline_fits_a_few_screens() -> None:
    """About 25 lines a stage, a third of them dependencies of code."""
    assert len((REPO / "dvc.yaml").read_text().splitlines()) <= 600
