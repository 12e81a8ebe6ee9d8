"""Latency tables from a file."""

import shutil
from pathlib import Path

import pytest

from ofa_core.latency.params import DeviceParams
from ofa_core.measure.device_table import obtain_table
from ofa_core.run import files
from ofa_core.space.registry import get_space
from tests.conftest import REPO


def device(**changes: object) -> DeviceParams:
    """Parameters of a device whose table comes from a file."""
    fields = {"kind": "host", "source": "file", "file": "table.json", "file_md5": "", "dtype": "uint8"}
    fields |= {"android": None, "resolutions": None, "cores": None, "threads": 1}  # type: ignore[dict-item]
    fields |= {"instances": 1, "max_error": 1.0, "milliseconds": 1, "networks": 0}  # type: ignore[dict-item]
    return DeviceParams(**(fields | changes))  # type: ignore[arg-type]


def test_table_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = r"build_latency_table\.devices\.phone"
    space = get_space("ofa_small_k7")
    with pytest.raises(ValueError, match=rf"{where}\.file: table\.json: no such file"):
        obtain_table("phone", device(), space, 10, "composed", 0, tmp_path)
    shutil.copy(REPO / "params/ci_latency.json", "table.json")
    md5 = files.md5("table.json")
    with pytest.raises(ValueError, match=rf"{where}\.file_md5: : the MD5 of table\.json is {md5}"):
        obtain_table("phone", device(), space, 10, "composed", 0, tmp_path)
    with pytest.raises(ValueError, match=rf"{where}\.file: table\.json is for num_classes 10, not 7"):
        obtain_table("phone", device(file_md5=md5), space, 7, "composed", 0, tmp_path)
    table, report = obtain_table("phone", device(file_md5=md5), space, 10, "composed", 0, tmp_path)
    assert table.predict(space, space.smallest()) < table.predict(space, space.largest())
    assert report == {"networks": 0}
