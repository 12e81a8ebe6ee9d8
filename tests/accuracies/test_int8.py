"""Accuracies of 8-bit sub-networks: simulated against exported files, and the predictor fitted to them."""

from pathlib import Path

import numpy as np
import pytest

from ofa_core.accuracies.collect import collect, collect_int8, int8_top1
from ofa_core.accuracies.journal import Journal
from ofa_core.accuracies.params import CollectParams
from ofa_core.accuracies.sampling import sample_archs
from ofa_core.evaluation.evaluate import score
from ofa_core.images.resize import to_rgb
from ofa_core.nn.network import SuperNetwork
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.fitting import check, fit_predictors
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule
from tests.accuracies.test_sampling import latencies
from tests.convert.test_network import integer
from tests.small_training import SPACE, fresh, train_supernet


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SuperNetwork, Evaluator]:
    """Trained a little on real images, so accuracies are far from chance."""
    net, train = fresh(), Images(dataset, "train")
    schedule = Schedule(epochs=8, warmup_epochs=0, lr=0.1)
    train_supernet(net, train, tmp_path_factory.mktemp("net"), schedule=schedule)
    return net, Evaluator(train, Images(dataset, "val"), 64, seed=0)


def test_simulation_is_near_the_exported_file(trained: tuple[SuperNetwork, Evaluator], tmp_path: Path) -> None:
    net, evaluator = trained
    arch = SPACE.largest(20)
    simulated, in_float = int8_top1(evaluator, net, arch), evaluator.subnet_score(net, arch)
    assert simulated == int8_top1(evaluator, net, arch)
    assert in_float > 0.3
    calibration = to_rgb(evaluator.train.at(20)[evaluator.indices])
    (tmp_path / "net.tflite").write_bytes(integer(net.extract(arch).eval(), calibration))
    measured = score(tmp_path / "net.tflite", to_rgb(evaluator.val.at(20)), evaluator.val.labels, evaluator.val.task)["top1"]
    assert simulated == pytest.approx(measured, abs=0.02)  # of 160 images


def test_collected_values(trained: tuple[SuperNetwork, Evaluator], tmp_path: Path) -> None:
    net, evaluator = trained
    archs = [SPACE.largest(24), SPACE.smallest(20)]
    journal = Journal(tmp_path)
    found = collect_int8(net, evaluator, archs, journal)
    assert found == [int8_top1(evaluator, net, arch) for arch in archs]
    assert found != [values["top1"] for values in collect(net, evaluator, archs, journal)]


def test_predictor(tmp_path: Path) -> None:
    archs = sample_archs(SPACE, latencies, 60, seed=0)
    macs = np.array([SPACE.cost(arch, 10).macs for arch in archs])
    top1 = 0.5 + 0.4 * (macs - macs.min()) / np.ptp(macs)
    rows = [{"top1": value, "cross_entropy": 2 - 2 * value} for value in top1]
    for i in range(0, 60, 2):  # large kernels lose more
        rows[i]["int8_top1"] = rows[i]["top1"] - 0.02 * float(np.mean(archs[i].ks))
    Accuracies.of(SPACE, archs, rows).write(tmp_path / "accuracies")
    measured = Accuracies.read(tmp_path / "accuracies")
    np.testing.assert_array_equal(measured.values["top1"], top1)
    assert np.isnan(measured.values["int8_top1"][1::2]).all()
    predictor = fit_predictors(measured, "cross_entropy")["int8_top1"]
    quality, _ = check(predictor, 0.9)
    assert quality["architectures"] == len(predictor.top1) == 30
    assert quality["rmse_points"] < 0.5 * quality["base"]["rmse_points"]


@pytest.mark.parametrize("count", [5, 31])
def test_too_few_or_too_many(count: int) -> None:
    with pytest.raises(ValueError, match=rf"int8_architectures: {count} is not 0, or 20 to architectures \(30\)"):
        CollectParams(architectures=30, promising=0.5, int8_architectures=count)
