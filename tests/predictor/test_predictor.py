"""The accuracy predictor on measured ImageNet sub-networks, and its files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad

from ofa_core.predictor import accuracy
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.features import encode_features, present_genes
from ofa_core.predictor.fitting import check, fit_predictors
from ofa_core.predictor.gaussian_process import GaussianProcess, _negative_log_likelihood
from ofa_core.predictor.intervals import Calibration
from ofa_core.predictor.quality import prediction_quality
from ofa_core.run import files
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space
from tests.conftest import arch_of, shared_data


@pytest.fixture(scope="module")
def measured() -> tuple[list[Arch], np.ndarray]:
    """Sub-networks of ofa_mbv3 with measured ImageNet top-1 (0..1). Shuffled, because the file is in the order of a search."""
    table = pd.read_csv(shared_data("ofa/ofa_mbv3_w1.0_imagenet_top1.csv")).sample(frac=1, random_state=0)
    archs = [arch_of(row) for _, row in table.iterrows()]
    return archs, table["top1"].to_numpy() / 100


@pytest.mark.parametrize("seed", range(8))
def test_imagenet_sub_networks(measured: tuple[list[Arch], np.ndarray], seed: int) -> None:
    """Fits 1,000 networks and checks 400. Every random split must pass.

    Intervals are checked on all networks outside the fit. On 400 alone, chance changes coverage by 1.5 percentage points.
    """
    archs, top1 = measured
    order = np.random.default_rng(seed).permutation(len(archs))
    fit, test = order[:1000], order[1000:1400]
    predictor = AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), [archs[i] for i in fit], top1[fit])
    quality = prediction_quality(predictor.predict([archs[i] for i in test]), top1[test])
    assert quality["rmse_points"] <= 0.08
    assert quality["kendall_tau"] >= 0.953
    unseen = order[1000:]
    low, high = predictor.interval([archs[i] for i in unseen], 0.9)
    assert 0.85 <= ((low <= top1[unseen]) & (top1[unseen] <= high)).mean() <= 0.95


@pytest.mark.parametrize("count", [50, 150])
def test_intervals_of_few_measurements(measured: tuple[list[Arch], np.ndarray], count: int) -> None:
    archs, top1 = measured
    shares = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(archs))
        fit, test = order[:count], order[-800:]
        predictor = AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), [archs[i] for i in fit], top1[fit])
        low, high = predictor.interval([archs[i] for i in test], 0.9)
        shares.append(((low <= top1[test]) & (top1[test] <= high)).mean())
    assert 0.86 < np.mean(shares) < 0.95


def test_intervals_are_right_for_weak_and_strong_networks(measured: tuple[list[Arch], np.ndarray]) -> None:
    archs, top1 = measured
    order = np.random.default_rng(0).permutation(len(archs))
    fit, test = order[:600], order[600:]
    predictor = AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), [archs[i] for i in fit], top1[fit])
    low, high = predictor.interval([archs[i] for i in test], 0.9)
    inside = ((low <= top1[test]) & (top1[test] <= high))[np.argsort((low + high) / 2)]
    for part in np.array_split(inside, 3):
        assert 0.85 < part.mean() < 0.95
    codes, resolutions = predictor.space.encode([archs[i] for i in test])
    errors = (low + high) / 2 - top1[test]
    assert 0.9 < np.sqrt(((errors / predictor.uncertainty_codes(codes, resolutions)) ** 2).mean()) < 1.15
    with pytest.raises(ValueError, match=r"coverage: 1\.5"):
        predictor.interval(archs[:1], 1.5)


@pytest.mark.parametrize(("coverage", "rank"), [(0.01, 1), (0.85, 17), (0.86, 18), (0.9, 18), (0.95, 19), (0.99, 19)])
def test_the_half_width_is_the_score_of_the_conformal_rank(coverage: float, rank: int) -> None:
    """Rank ceil((n + 1) * coverage) of n = 19 scores: a new score is equally likely in each of the 20 gaps between them."""
    calibration = Calibration(np.zeros(3), np.zeros(2), np.ones(2), np.arange(1.0, 20.0))
    assert calibration.half_width(np.array([0.7]), np.array([0.01]), coverage) == pytest.approx(0.01 * rank)


def test_fitted_parameters_widen_intervals_by_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(0.6, 0.8, 80), rng.uniform(0.001, 0.002, 80)
    data = mean, deviation, deviation * rng.standard_normal(80)
    widths = {count: Calibration.fit(*data, count).half_width(mean, deviation, 0.9) for count in (0, 10, 37, 60)}
    for count, free in ((10, 67), (37, 40), (60, 40)):  # three more for the scale; at least half of the observations are free
        np.testing.assert_allclose(widths[count] / widths[0], np.sqrt(77 / free))


def test_the_scale_of_errors_is_the_most_likely_under_its_prior() -> None:
    """Written out: the gradient of the likelihood of normal errors, and of a prior worth five observations, is zero."""
    rng = np.random.default_rng(0)
    mean, deviation = rng.normal(0.7, 0.02, 400), np.exp(rng.normal(-6, 0.3, 400))
    residual = deviation * np.exp(-0.5 * (mean - 0.7) / 0.02) * rng.standard_normal(400)
    found = Calibration.fit(mean, deviation, residual)
    values = np.stack([mean, np.log(deviation)], axis=1)
    features = np.column_stack([np.ones(400), ((values - values.mean(0)) / values.std(0)).clip(-2.5, 2.5)])
    scale = deviation * np.exp(features @ found.coefficients)
    np.testing.assert_allclose(found.scale(mean, deviation), scale)
    np.testing.assert_allclose(features.T @ (1 - (residual / scale) ** 2) + 5 * found.coefficients, 0, atol=0.01)
    assert found.coefficients[1] == pytest.approx(-0.5, abs=0.1)


def test_cross_entropy_is_turned_into_top1_by_a_line(measured: tuple[list[Arch], np.ndarray]) -> None:
    """If a line turns one into the other, predictions are the same. Intervals are wider by the line's two parameters."""
    archs, top1, space = measured[0][:60], measured[1][:60], get_space("ofa_mbv3", 1.0)
    direct, learned = (AccuracyPredictor.fit(space, archs, top1, cross_entropy=x) for x in (None, 2.5 - 2 * top1))
    unseen = measured[0][60:90]
    np.testing.assert_allclose(learned.predict(unseen), direct.predict(unseen), atol=1e-4)
    free = 60 - 13 - 3  # 13 hyperparameters, 3 parameters of the scale
    widths = [np.subtract(*predictor.interval(unseen)) for predictor in (direct, learned)]
    np.testing.assert_allclose(widths[1] / widths[0], np.sqrt(free / (free - 2)), rtol=5e-3)


def test_cross_entropy_sees_through_the_noise_of_top1(measured: tuple[list[Arch], np.ndarray]) -> None:
    """Top-1 with the noise of 2,000 images: predictions are nearer to the true values, and intervals hold measured ones."""
    archs, top1 = measured
    noisy = top1 + np.random.default_rng(0).normal(0, 0.01, len(top1))
    fit = {"cross entropy": 2.5 - 2 * top1[:150], "top1": None}
    errors, space = {}, get_space("ofa_mbv3", 1.0)
    for name, cross_entropy in fit.items():
        predictor = AccuracyPredictor.fit(space, archs[:150], noisy[:150], cross_entropy=cross_entropy)
        errors[name] = prediction_quality(predictor.predict(archs[150:]), top1[150:])["rmse_points"]
        low, high = predictor.interval(archs[150:], 0.9)
        assert 0.86 < ((low <= noisy[150:]) & (noisy[150:] <= high)).mean() < 0.94
    assert errors["cross entropy"] < 0.75 * errors["top1"]


def test_quality_by_hand() -> None:
    found = prediction_quality(np.array([0.5, 0.6, 0.7, 0.65]), np.array([0.5, 0.62, 0.62, 0.7]))
    assert found["rmse_points"] == pytest.approx(100 * np.sqrt((0.02**2 + 0.08**2 + 0.05**2) / 4))
    assert found["kendall_tau"] == pytest.approx((4 - 1) / np.sqrt(6 * 5))  # six pairs; one is measured equal
    assert found["pairwise_accuracy"] == pytest.approx(4 / 5)


def test_resolutions_beyond_the_training_data() -> None:
    """Fitted at 160 and 192 pixels, evaluated at 224 and far outside. Trends continue and nothing diverges."""
    entries = json.loads(shared_data("ofa/note10_predictions.json").read_text())
    archs = [Arch.from_dict(entry["arch"]) for entry in entries]
    top1 = np.array([entry["accuracy"] for entry in entries])
    space, seen = get_space("ofa_mbv3", 1.2), np.array([arch.r < 224 for arch in archs])
    predictor = AccuracyPredictor.fit(space, [a for a, known in zip(archs, seen, strict=True) if known], top1[seen])
    new = [a for a, known in zip(archs, seen, strict=True) if not known]
    assert prediction_quality(predictor.predict(new), top1[~seen])["rmse_points"] < 0.9
    rising = predictor.predict([replace(archs[0], r=r) for r in (128, 160, 192, 224, 256, 512)])
    assert (np.diff(rising) > 0).all()
    assert 0.7 < rising[0] < rising[-1] < 0.9


def test_likelihood_gradient() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((30, 4)), rng.standard_normal((30, 1))]
    data = rng.standard_normal(30), parts
    weights = rng.standard_normal(7) * 0.3 - 1
    assert (
        check_grad(lambda w: _negative_log_likelihood(w, *data)[0], lambda w: _negative_log_likelihood(w, *data)[1], weights)
        < 1e-4
    )


def test_kernel_is_the_one_of_the_docstring() -> None:
    rng = np.random.default_rng(0)
    a, b = ({"a": rng.standard_normal((n, 3)), "b": rng.standard_normal((n, 1))} for n in (5, 20))
    weights = np.array([-1.0, -0.5, -0.7, 0.2, 0.1, -1.0, -2.0])
    near, linear, (signal, constant, _) = np.exp(weights[:2]), np.exp(weights[2:4]), np.exp(weights[4:])
    process = GaussianProcess.from_weights(("a", "b"), weights, b, b["a"].sum(1))
    for i, j in np.ndindex(5, 20):
        distance = sum(near[g] ** 2 * ((a[name][i] - b[name][j]) ** 2).sum() for g, name in enumerate("ab"))
        products = sum(linear[g] ** 2 * (a[name][i] @ b[name][j]) for g, name in enumerate("ab"))
        expected = signal**2 * np.exp(-distance / 2) + products + constant**2
        assert process._cross(a)[i, j] == pytest.approx(expected, rel=1e-9)


def test_leave_one_out_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    x = {"a": rng.standard_normal((20, 3))}
    y = x["a"].sum(1) + 0.1 * rng.standard_normal(20)
    weights = np.array([-1.0, -0.5, 0.0, -1.0, -2.0])
    residuals, deviations = GaussianProcess.from_weights(("a",), weights, x, y).leave_one_out()
    # Same mean and scale of the targets, so that only the left-out observation differs.
    rest = np.arange(20) != 7
    kernel = GaussianProcess.from_weights(("a",), weights, {"a": x["a"][rest]}, y[rest])
    standard = (y - y.mean()) / y.std()
    cross = kernel._cross({"a": x["a"][7:8]})
    assert residuals[7] == pytest.approx(y[7] - (cross @ kernel.inverse @ standard[rest])[0] * y.std() - y.mean(), rel=1e-6)
    assert deviations[7] == pytest.approx(kernel.deviation({"a": x["a"][7:8]})[0] / y[rest].std() * y.std(), rel=1e-6)


def test_many_measurements_are_predicted_in_small_chunks(base: AccuracyPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a chunk follow from the number of measurements, and no prediction from the rows."""
    codes = base.space.leaning(50, np.random.default_rng(5))
    archs = base.space.decode(codes, np.full(50, base.space.resolutions[-1]))
    whole = base.predict(archs), *base.interval(archs)
    monkeypatch.setattr(accuracy, "MOST_PAIRS", 7 * len(base.top1))
    cross, rows = GaussianProcess._cross, list[int]()
    monkeypatch.setattr(GaussianProcess, "_cross", lambda self, x: rows.append(len(x["r"])) or cross(self, x))
    for expected, found in zip(whole, (base.predict(archs), *base.interval(archs)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert max(rows) == 7
    assert len(base.predict([])) == 0


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


@pytest.fixture(scope="module")
def base(measured: tuple[list[Arch], np.ndarray]) -> AccuracyPredictor:
    archs, top1 = measured
    return AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), archs[::4], top1[::4])


def test_transfer_to_another_width_and_resolution(base: AccuracyPredictor) -> None:
    """From width 1.0 at 224 pixels to the published predictor's values for width 1.2 at 160 to 224 pixels."""
    entries = json.loads(shared_data("ofa/note10_predictions.json").read_text())
    archs = [Arch.from_dict(entry["arch"]) for entry in entries]
    top1, space = np.array([entry["accuracy"] for entry in entries]), get_space("ofa_mbv3", 1.2)
    errors = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(archs))
        fit, test = [archs[i] for i in order[:30]], [archs[i] for i in order[30:]]
        predictors = [AccuracyPredictor.fit(space, fit, top1[order[:30]], base=start) for start in (None, base)]
        errors.append([prediction_quality(p.predict(test), top1[order[30:]])["rmse_points"] for p in predictors])
    alone, transferred = np.mean(errors, axis=0)
    assert transferred < 0.85 * alone


def test_transfer_between_disjoint_halves(measured: tuple[list[Arch], np.ndarray], base: AccuracyPredictor) -> None:
    """If nothing differs, a transfer with sixty networks unknown to the base leaves its predictions as good as before."""
    archs, top1 = measured
    space, test, inside = get_space("ofa_mbv3", 1.0), slice(1002, None, 4), []
    for start in (1, 241, 481, 721):
        fit = slice(start, start + 240, 4)
        predictors = {"alone": AccuracyPredictor.fit(space, archs[fit], top1[fit]), "base": base}
        predictors["transferred"] = AccuracyPredictor.fit(space, archs[fit], top1[fit], base=base)
        rmse = {name: prediction_quality(p.predict(archs[test]), top1[test])["rmse_points"] for name, p in predictors.items()}
        assert rmse["transferred"] < 1.2 * rmse["base"] < 0.6 * rmse["alone"]
        low, high = predictors["transferred"].interval(archs[test], 0.9)
        inside.append(((low <= top1[test]) & (top1[test] <= high)).mean())
    assert 0.85 < np.mean(inside) < 0.95


def test_transferred_predictor_is_saved_with_its_base(
    measured: tuple[list[Arch], np.ndarray], base: AccuracyPredictor, tmp_path: Path
) -> None:
    archs, top1 = measured
    predictor = AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), archs[:40], top1[:40] - 0.01, base=base)
    predictor.save(tmp_path / "int8.npz")
    loaded = AccuracyPredictor.load(tmp_path / "int8.npz")
    assert loaded.base is not None
    np.testing.assert_allclose(loaded.predict(archs[60:90]), predictor.predict(archs[60:90]), rtol=1e-9)
    np.testing.assert_allclose(loaded.interval(archs[60:90]), predictor.interval(archs[60:90]), rtol=1e-6)
    codes, resolutions = loaded.space.encode(archs[60:90])
    assert (loaded.uncertainty_codes(codes, resolutions) > 0).all()
    np.testing.assert_allclose(base.predict(archs[60:90]) - predictor.predict(archs[60:90]), 0.01, atol=0.005)
    with pytest.raises(ValueError, match="different choices"):
        AccuracyPredictor.fit(get_space("ofa_small_k7"), archs[:40], top1[:40], base=base)


def test_fitting_a_transferred_predictor(measured: tuple[list[Arch], np.ndarray]) -> None:
    """The values to learn are those of its base, so its errors are the base's errors on networks that it has not seen."""
    archs, top1 = measured
    space = get_space("ofa_mbv3", 1.0)
    rows = [{"top1": value} | ({"int8_top1": value} if 20 <= i < 80 else {}) for i, value in enumerate(top1[:120])]
    predictor = fit_predictors(Accuracies.of(space, archs[:120], rows), "top1")["int8_top1"]
    assert predictor.base is not None
    assert (len(predictor.top1), len(predictor.base.top1)) == (60, 120)
    quality, points = check(predictor, 0.9)
    assert len(points) == 60
    assert quality["rmse_points"] == pytest.approx(quality["base"]["rmse_points"], rel=0.05)
    assert quality["base"]["rmse_points"] > 0.05  # that of networks it has seen is far below


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
        "size": (2, 1),
    }
    assert features["size"][:, 0].tolist() == [0, 2]
    assert features["e"].sum(axis=1).tolist() == [10, 18]


def test_bad_measurements(tmp_path: Path) -> None:
    space = get_space("ofa_small_k7")
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


def test_leave_one_out_of_all_architectures(measured: tuple[list[Arch], np.ndarray]) -> None:
    """The error on networks outside the fit, a fifth too small here: hyperparameters are fitted to all 80 of them."""
    archs, top1 = measured
    found, unseen, inside = [], [], []
    for start in range(0, 800, 80):
        part = slice(start, start + 80)
        measurements = Accuracies.of(get_space("ofa_mbv3", 1.0), archs[part], [{"top1": value} for value in top1[part]])
        predictor = fit_predictors(measurements, "top1")["top1"]
        quality, points = check(predictor, 0.9)
        assert quality["architectures"] == len(points) == 80
        assert quality["kendall_tau"] > 0.7
        found.append(quality["rmse_points"])
        unseen.append(prediction_quality(predictor.predict(archs[1000:]), top1[1000:])["rmse_points"])
        assert quality["interval_points"] == pytest.approx(100 * np.median(predictor.leave_one_out(0.9)[1]))
        inside.append(quality["interval_points"])
    assert 0.7 * np.mean(unseen) < np.mean(found) < np.mean(unseen)
    assert np.mean(unseen) < np.mean(inside) < 2.5 * np.mean(unseen)
