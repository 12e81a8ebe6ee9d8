"""Collecting accuracies: killed, resumed and shared between processes, the measurements are the same byte for byte."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ofa_core.accuracies.collect import collect, spread
from ofa_core.accuracies.journal import Journal
from ofa_core.predictor.accuracy_table import SPACE as SPACE_FILE
from ofa_core.predictor.accuracy_table import TABLE, Accuracies
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from tests.accuracies.collecting import COUNT, INT8
from tests.conftest import REPO
from tests.small_training import SPACE, fresh


def command(processes: int, dataset: Path, work: Path, out: Path) -> list[str]:
    work.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *launcher, "-m", "tests.accuracies.collecting", str(dataset), str(work), str(out)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines(work: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in work.glob("*.jsonl"))


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run writes."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(command(1, dataset, folder / "work", folder / "out"), cwd=REPO, check=True, capture_output=True)
    return folder / "out"


def test_killed_and_resumed(whole: Path, dataset: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    run = subprocess.Popen(command(1, dataset, work, out), cwd=REPO, stderr=subprocess.DEVNULL)
    while lines(work) < COUNT // 2:
        assert run.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not out.exists()
    done = lines(work)
    journal = work / "measured-0.jsonl"
    journal.write_bytes(journal.read_bytes() + b'["half a li')
    before = journal.stat().st_ino, journal.read_bytes()[:-11]
    subprocess.run(command(1, dataset, work, out), cwd=REPO, check=True, capture_output=True)
    assert contents(out) == contents(whole)
    # What was measured before is there once: it was not measured again.
    assert journal.read_bytes().startswith(before[1])
    assert done < lines(work) == COUNT + INT8


def test_two_processes_resume_the_work_of_one(whole: Path, dataset: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    subprocess.run(command(1, dataset, work, tmp_path / "first"), cwd=REPO, check=True, capture_output=True)
    journal = work / "measured-0.jsonl"
    kept = journal.read_text().splitlines(keepends=True)[:5]
    journal.write_text("".join(kept))
    subprocess.run(command(2, dataset, work, out), cwd=REPO, check=True, capture_output=True, env=os.environ)
    assert contents(out) == contents(whole)
    assert (work / "measured-1.jsonl").exists()
    assert lines(work) == COUNT + INT8


def test_values_and_order(dataset: Path, tmp_path: Path) -> None:
    """Networks are measured one resolution after the other; values come back in the order of the networks."""
    evaluator = Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)
    net, archs = fresh(), [SPACE.largest(24), SPACE.smallest(20), SPACE.smallest(24), SPACE.largest(20)]
    found = collect(net, evaluator, archs, Journal(tmp_path))
    assert found == [evaluator.subnet_measures(net, arch) for arch in archs]
    assert [set(values) for values in found] == [{"top1", "cross_entropy"}] * 4
    keys = [json.loads(json.loads(line)[0]) for line in (tmp_path / "measured-0.jsonl").read_text().splitlines()]
    assert [arch["r"] for _, arch in keys] == [20, 20, 24, 24]


def test_table(whole: Path, tmp_path: Path) -> None:
    measured = Accuracies.read(whole)
    assert measured.space.genes == SPACE.genes
    assert len(measured.archs) == COUNT
    assert (~np.isnan(measured.values["int8_top1"])).sum() == INT8
    assert (measured.values["cross_entropy"] > 0).all()
    measured.write(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(whole)
    part = SPACE.restrict({"ks": [3]})
    Accuracies.of(part, [part.smallest(20)], [{"top1": 0.5, "cross_entropy": 1.5}]).write(tmp_path / "part")
    assert Accuracies.read(tmp_path / "part").space.genes == part.genes
    (tmp_path / "part" / TABLE).write_bytes((whole / TABLE).read_bytes())
    with pytest.raises(ValueError, match=r"accuracies.csv: not a table of accuracies \(ks\[\d+\]"):
        Accuracies.read(tmp_path / "part")
    (tmp_path / "part" / SPACE_FILE).write_text('{"name": "ofa_smal"}')
    with pytest.raises(ValueError, match=r"space.json: not a space \(name: 'ofa_smal'"):
        Accuracies.read(tmp_path / "part")
    with pytest.raises(ValueError, match=r"space.json: no such file"):
        Accuracies.read(tmp_path / "none")


def test_networks_of_a_second_table_are_added_once() -> None:
    """A skipped block's choices make no other network."""
    shallow = SPACE.smallest(20)
    assert shallow.ks is not None
    same = type(shallow)((*shallow.ks[:3], 7, *shallow.ks[4:]), shallow.e, shallow.d, 20)
    first = Accuracies.of(SPACE, [shallow], [{"top1": 0.5}])
    both = first.extended(Accuracies.of(SPACE, [same, SPACE.largest(20)], [{"top1": 0.7}, {"top1": 0.6}]))
    assert both.archs == [shallow, SPACE.largest(20)]
    assert both.values["top1"].tolist() == [0.5, 0.6]
    alone = Accuracies.of(SPACE, [], []).extended(Accuracies.of(SPACE, [shallow, same], [{"top1": 0.5}, {"top1": 0.5}]))
    assert alone.archs == [shallow]


def test_spread() -> None:
    assert spread(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), 3) == [1, 0, 3]
    assert spread(np.arange(30.0), 30) == list(range(30))
    assert spread(np.arange(30.0), 0) == []
