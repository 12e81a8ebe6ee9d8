"""The catalogue of `ofa fetch`: names, mirrors, checksums."""

import hashlib
import json
from dataclasses import replace

import pytest

from ofa_core.nn import build_supernet
from ofa_core.space.registry import get_space
from ofa_core.zoo import catalogue
from tests.conftest import shared_data
from tests.nn.test_official import SPECIALIZED


def test_everything_that_was_published_is_named():
    kinds = [len(row.files) for row in catalogue.PUBLISHED.values()]
    assert (kinds.count(1), kinds.count(3), kinds.count(5)) == (9, 50, 1)  # 5: latency tables
    assert {"ofa_mbv3_d234_e346_k357_w1.0", "ofa_mbv3_d234_e346_k357_w1.2", "ofa_proxyless_d234_e346_k357_w1.3"} < set(
        catalogue.PUBLISHED
    )
    assert set(SPECIALIZED) < set(catalogue.PUBLISHED)
    assert sorted(len(row.md5) for row in catalogue.PUBLISHED.values() if row.md5) == [32] * 4
    for row in catalogue.PUBLISHED.values():
        assert row.base.startswith("https://")
        if row.space:
            get_space(row.space, row.width_mult)


def test_the_recorded_networks_are_all_published():
    rows = json.loads(shared_data("ofa/specialized_nets.json").read_text())
    assert {row["name"] for row in rows} <= set(catalogue.PUBLISHED)


def test_fetches_one_file_from_a_mirror_and_keeps_it(tmp_path):
    (tmp_path / "remote").write_bytes(b"weights")
    path = catalogue.fetch("ofa_mbv3_d234_e346_k357_w1.0", tmp_path / "nets", url=(tmp_path / "remote").as_uri())
    assert path == tmp_path / "nets/ofa_mbv3_d234_e346_k357_w1.0.pth"
    assert path.read_bytes() == b"weights"
    (tmp_path / "remote").unlink()  # a second call needs no network
    assert catalogue.fetch("ofa_mbv3_d234_e346_k357_w1.0", tmp_path / "nets", url=(tmp_path / "remote").as_uri()) == path


def test_fetches_a_network_of_three_files_by_either_spelling(tmp_path):
    (tmp_path / "mirror").mkdir()
    for name in ("net.config", "run.config", "init"):
        (tmp_path / "mirror" / name).write_text(name)
    folder = catalogue.fetch("cpu_lat@17ms_top1@75.7_finetune@25", tmp_path / "nets", url=(tmp_path / "mirror").as_uri())
    assert folder == tmp_path / "nets/cpu_lat-17ms_top1-75.7_finetune-25"
    note = folder / "fetched.json"
    assert json.loads(note.read_text()) == {"name": folder.name, "normalization": "imagenet"}
    note.unlink()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {n: n for n in ("net.config", "run.config", "init")}


@pytest.mark.parametrize("name", ["35ms_top1-0.7329", "ofa_resnet50"])
def test_published_checksums_are_checked(tmp_path, name, monkeypatch):
    remote = tmp_path / "remote"
    remote.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"(MD5|SHA-256) [0-9a-f]+ is not the"):
        catalogue.fetch(name, tmp_path / "nets", url=remote.as_uri())
    assert not [path for path in (tmp_path / "nets").iterdir() if path.is_file()]
    algorithm = "md5" if catalogue.PUBLISHED[name].md5 else "sha256"
    right = replace(catalogue.PUBLISHED[name], **{algorithm: hashlib.new(algorithm, b"something else").hexdigest()})
    monkeypatch.setitem(catalogue.PUBLISHED, name, right)
    assert catalogue.fetch(name, tmp_path / "nets", url=remote.as_uri()).read_bytes() == b"something else"


def test_unknown_names_and_missing_networks_are_clear_errors(tmp_path):
    with pytest.raises(ValueError, match=r"'ofa_mbv3' is not in the catalogue; known are ofa_mbv3_d234_e346_k357_w1.0"):
        catalogue.fetch("ofa_mbv3", tmp_path)
    with pytest.raises(ValueError, match=r"127.0.0.1:9"):
        catalogue.fetch("ofa_resnet50", tmp_path, url="http://127.0.0.1:9/net")


def test_official_names_build_the_networks_they_hold():
    row = catalogue.PUBLISHED["ofa_proxyless_d234_e346_k357_w1.3"]
    net = build_supernet(get_space(row.space, row.width_mult), 1000)
    assert net.parts["first_conv"].conv.weight.shape[0] == 40
