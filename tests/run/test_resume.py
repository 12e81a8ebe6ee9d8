"""A real stage whose parameters are edited while it trains."""

import shutil
import time
from pathlib import Path

import pytest

from ofa_core.run import files
from tests.projects import Project

STAGE = "stages.train_supernet"


@pytest.fixture
def project(dataset: Path, tmp_path: Path) -> Project:
    """A project with a few hundred images and the ci profile."""
    project = Project(tmp_path)
    (tmp_path / "build/data").mkdir(parents=True)
    shutil.copy(dataset, tmp_path / "build/data/classification.npz")
    changes = "train_supernet: {epochs: 3}\nspace: {resolutions: [20]}\nmachine: {checkpoint_seconds: 0.2}\n"
    (tmp_path / "short.yaml").write_text(f"{changes}training: {{batch_size: 32, bn_images: 64, threads: 1}}\n")
    project.run("ofa_core.commands.main", "profile", "short.yaml", "--out", "params.yaml")
    return project


def test_an_edit_that_is_taken_back_loses_no_step(project: Project) -> None:
    params = project.folder / "params.yaml"
    before = params.read_text()
    process = project.start(STAGE)
    while not list((project.folder / ".work").glob("*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    params.write_text(before.replace("momentum: 0.9", "momentum: 0.8"))
    output, _ = process.communicate()
    assert process.returncode == 2, output
    assert "error: train_supernet: changed while the stage ran, so nothing is recorded: params.yaml: training" in output
    [work] = [path for path in (project.folder / ".work").iterdir() if path.is_dir()]
    spent, weights = cost(project), files.md5(project.folder / "build/supernet/full.safetensors")

    params.write_text(before)
    project.run(STAGE)
    assert cost(project) == spent  # of the steps of both runs: not one was taken again
    assert files.md5(project.folder / "build/supernet/full.safetensors") == weights
    assert not work.exists()


def cost(project: Project) -> float:
    """Core hours of the steps, as reported."""
    return files.read_json(project.folder / "reports/train_supernet_details.json")["cpu_core_hours"]
