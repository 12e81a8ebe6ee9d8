"""`ofa search`: budgets and tables of all kinds, its csv of the Pareto front, and bad input."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space
from tests.commands.test_main import ofa
from tests.conftest import shared_data


def ofa_search(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return ofa(capsys, "search", *map(str, arguments))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A predictor of ofa_small_k7 that favours large networks."""
    space = get_space("ofa_small_k7", resolutions=(20, 28))
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(40)]
    macs = np.array([space.cost(arch, 10).macs for arch in archs])
    AccuracyPredictor.fit(space, archs, 0.5 + 0.4 * (macs - macs.min()) / np.ptp(macs)).save(tmp_path / "p.npz")
    return tmp_path / "p.npz"


def test_official_predictor_on_two_devices(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tables = shared_data("ofa/note10")
    predictor = shared_data("ofa/acc_predictor.pth")
    code, out, _ = ofa_search(
        capsys, "--predictor", predictor, "--table", f"phone={tables}", f"small={tables / '160_lookup_table.yaml'}",
        "--ms", 16, "--front", tmp_path / "front.csv", "--plot", tmp_path / "front.svg", "--json",
    )  # fmt: skip
    assert code == 0
    phone, small = json.loads(out)["results"]
    assert (phone["device"], small["device"]) == ("phone", "small")
    assert small["arch"]["r"] == 160
    for row in (phone, small):
        assert row["predicted_latency_ms"] <= 16
        assert row["predicted_top1"] > row["random_search_top1"]
        assert row["macs"] == get_space("ofa_mbv3", 1.2).cost(Arch.from_dict(row["arch"])).macs
    front = pd.read_csv(tmp_path / "front.csv")
    assert set(front["device"]) == {"phone", "small"}
    assert b"<svg" in (tmp_path / "front.svg").read_bytes()
    for _, rows in front.groupby("device"):
        assert len(rows) > 20
        assert rows["latency_ms"].is_monotonic_increasing
        assert rows["objective"].is_monotonic_increasing


def test_macs(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    budgets = ("--num-classes", 10, "--macs", 3e6, 5e6)
    code, out, _ = ofa_search(capsys, "--predictor", small, *budgets, "--json")
    assert code == 0
    found = json.loads(out)["results"]
    assert [row["cost"] <= row["budget"] and row["cost"] == row["macs"] for row in found] == [True, True]
    code, out, _ = ofa_search(capsys, "--predictor", small, *budgets)
    assert code == 0
    assert "budget (MACs)" in out
    assert out.count("3e+06 MACs: r ") == 1


def test_bad_input(capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--predictor", small, "--macs", 10), "cannot be met; reachable are"),
        (("--predictor", small, "--ms", 10), "--table: missing"),
        (("--predictor", tmp_path / "none.pth", "--macs", 1e6), "none.pth: no such file"),
        (("--predictor", small, "--macs", 5e6, "--effort", "x"), "--effort: invalid choice: 'x' (choose from 'normal', "),
        (("--predictor", small, "--macs", 5e6, "--candidates", 0), "--candidates: 0 is less than 1"),
        (("--predictor", small, "--macs", 5e6, "--space", "ofa_mbv3"), "--space: ofa_mbv3:"),
        (("--predictor", small, "--macs", 5e6, "--resolutions", 21), "resolutions: 21 is not a multiple of 4"),
        (("--predictor", small, "--macs", -1), "-1 MACs: -1 cannot be met"),
        (("--predictor", small, "--macs", 5e6, "--plot", tmp_path / "a.svg"), "--plot: goes with --front"),
        (
            ("--predictor", small, "--macs", 5e6, "--front", tmp_path / "a.csv", "--plot", tmp_path / "a.svg"),
            "--plot: needs budgets in ms",
        ),
    ):
        code, out, err = ofa_search(capsys, *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


def test_impossible_latency_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--predictor", shared_data("ofa/acc_predictor.pth"), "--table", shared_data("ofa/note10"), "--ms", 0.001)
    started = time.process_time()
    code, _, err = ofa_search(capsys, *arguments)
    assert time.process_time() - started < 1
    assert code == 2
    assert "0.001 cannot be met; reachable are 9.89 to 92.4 ms" in err
