"""The accuracy predictor on really measured sub-networks, and its files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.features import encode_features, present_genes
from ofa_core.predictor.fitting import fit_and_check
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.predictor.quality import prediction_quality
from ofa_core.spaces import get_space
from ofa_core.training.collect import read_accuracies, write_accuracies
from tests.conftest import arch_of, shared_data


@pytest.fixture(scope="module")
def measured() -> tuple[list[Arch], np.ndarray]:
    """Sub-networks of ofa_mbv3 with measured ImageNet top-1 (0..1)."""
    table = pd.read_csv(shared_data("ofa/ofa_mbv3_w1.0_imagenet_top1.csv"))
    archs = [arch_of(row) for _, row in table.iterrows()]
    return archs, table["top1"].to_numpy() / 100


def test_imagenet_sub_networks(measured: tuple[list[Arch], np.ndarray]) -> None:
    archs, top1 = measured
    order = np.random.default_rng(0).permutation(len(archs))
    fit, test = order[:500], order[1000:1400]
    predictor = AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), [archs[i] for i in fit], top1[fit])
    quality = prediction_quality(predictor.predict([archs[i] for i in test]), top1[test])
    assert quality["rmse"] < 0.11
    assert quality["kendall_tau"] > 0.94
    low, high = predictor.interval([archs[i] for i in test], 0.9)
    assert 0.82 < ((low <= top1[test]) & (top1[test] <= high)).mean() < 0.97


def test_saved_predictor_is_the_same(measured: tuple[list[Arch], np.ndarray], tmp_path: Path) -> None:
    archs, top1 = measured
    space = get_space("ofa_mbv3", 1.0)
    predictor = AccuracyPredictor.fit(space, archs[:60], top1[:60])
    predictor.save(tmp_path / "a.npz")
    AccuracyPredictor.fit(space, archs[:60], top1[:60]).save(tmp_path / "b.npz")
    assert files.md5(tmp_path / "a.npz") == files.md5(tmp_path / "b.npz")
    loaded = AccuracyPredictor.load(tmp_path / "a.npz")
    np.testing.assert_allclose(loaded.predict(archs[60:90]), predictor.predict(archs[60:90]), rtol=1e-9)
    np.testing.assert_allclose(loaded.interval(archs[60:90]), predictor.interval(archs[60:90]), rtol=1e-6)


def test_skipped_blocks_do_not_matter() -> None:
    space = get_space("ofa_mbv3", 1.0)
    shallow = space.smallest(224)
    assert shallow.ks is not None
    other = replace(shallow, ks=(*shallow.ks[:2], 7, 7, *shallow.ks[4:]), e=(*shallow.e[:2], 6, 6, *shallow.e[4:]))
    a, b = (encode_features(space, *space.encode([arch])) for arch in (shallow, other))
    assert all((a[group] == b[group]).all() for group in a)
    codes, _ = space.encode([shallow, space.largest(224)])
    assert present_genes(space, codes).sum(axis=1).tolist() == [2 * 10 + 5, 2 * 20 + 5]


def test_resnet_features() -> None:
    space = get_space("ofa_resnet50")
    codes, resolutions = space.encode([space.smallest(128), space.largest(224)])
    features = encode_features(space, codes, resolutions)
    assert {group: values.shape for group, values in features.items()} == {
        "d": (2, 14),
        "e": (2, 54),
        "w": (2, 18),
        "r": (2, 1),
    }
    assert features["e"].sum(axis=1).tolist() == [10, 18]


def test_bad_measurements(tmp_path: Path) -> None:
    space = get_space("ofa_small")
    archs = [space.sample(np.random.default_rng(i)) for i in range(12)]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        AccuracyPredictor.fit(space, archs, [70.0] * 12)
    with pytest.raises(ValueError, match="at least 10"):
        AccuracyPredictor.fit(space, archs[:5], [0.7] * 5)
    with pytest.raises(ValueError, match="no such file"):
        AccuracyPredictor.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(ValueError, match="not a predictor"):
        AccuracyPredictor.load(tmp_path / "bad.npz")


def test_fitting_reports_held_out_architectures(measured: tuple[list[Arch], np.ndarray]) -> None:
    archs, top1 = measured
    params = FitPredictorParams(held_out=0.25, coverage=0.9)
    predictor, quality, points = fit_and_check(get_space("ofa_mbv3", 1.0), archs[:80], top1[:80], params, seed=0)
    assert (quality["fitted"], quality["held_out"], len(points)) == (60, 20, 20)
    assert quality["kendall_tau"] > 0.7
    assert len(predictor.top1) == 80


def test_accuracies_file(tmp_path: Path) -> None:
    space = get_space("ofa_small")
    archs = [space.sample(np.random.default_rng(i)) for i in range(5)]
    write_accuracies(tmp_path / "a.csv", archs, [0.1, 0.2, 0.3, 0.4, 0.5])
    read, top1 = read_accuracies(tmp_path / "a.csv")
    assert read == archs
    assert top1.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a table of accuracies"):
        read_accuracies(tmp_path / "b.csv")
