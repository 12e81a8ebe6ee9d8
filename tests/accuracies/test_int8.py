"""Accuracies of 8-bit sub-networks: simulated against exported files, and the predictor fitted to them."""

from pathlib import Path

import numpy as np
import pytest

from ofa_core.accuracies import collect
from ofa_core.accuracies.collect import collect_int8, int8_top1, sample_archs
from ofa_core.accuracies.params import CollectParams
from ofa_core.evaluation.evaluate import score
from ofa_core.images.resize import to_rgb
from ofa_core.nn.network import SuperNetwork
from ofa_core.predictor.accuracy_table import read_accuracies, write_accuracies
from ofa_core.predictor.fitting import fit_quantized_and_check
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule
from tests.convert.test_network import integer
from tests.small_training import SPACE, fresh, train_supernet


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SuperNetwork, Evaluator]:
    """Trained a little on real images, so accuracies are far from chance."""
    net, train = fresh(), Images(dataset, "train")
    schedule = Schedule(epochs=8, warmup_epochs=0, lr=0.1)
    train_supernet(net, train, tmp_path_factory.mktemp("net"), schedule=schedule, resolutions=[20])
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


def test_which_are_measured(trained: tuple[SuperNetwork, Evaluator], monkeypatch: pytest.MonkeyPatch) -> None:
    net, evaluator = trained
    archs = sample_archs(SPACE, 30, seed=0)
    order = sorted(archs, key=lambda arch: SPACE.cost(arch, 10).macs)
    asked = []
    monkeypatch.setattr(collect, "int8_top1", lambda _evaluator, _net, arch: asked.append(arch) or SPACE.cost(arch, 10).macs)
    found = collect_int8(net, evaluator, archs, 7)
    assert asked == [archs[i] for i in found]
    assert {order[0], order[-1]} <= set(asked)
    assert len(set(asked)) == 7
    assert found == {i: SPACE.cost(archs[i], 10).macs for i in found}
    assert len(collect_int8(net, evaluator, archs, 30)) == 30
    assert collect_int8(net, evaluator, archs, 0) == {}


def test_accuracies_file_and_predictor(tmp_path: Path) -> None:
    archs = sample_archs(SPACE, 60, seed=0)
    macs = np.array([SPACE.cost(arch, 10).macs for arch in archs])
    top1 = 0.5 + 0.4 * (macs - macs.min()) / np.ptp(macs)
    kernels = np.array([np.mean(arch.ks) for arch in archs])
    int8 = {i: float(top1[i] - 0.02 * kernels[i]) for i in range(0, 60, 2)}  # large kernels lose more
    write_accuracies(tmp_path / "a.csv", archs, top1.tolist(), int8)
    (_, read), (_, read_int8) = read_accuracies(tmp_path / "a.csv"), read_accuracies(tmp_path / "a.csv", "int8_top1")
    np.testing.assert_array_equal(read, top1)
    assert np.isnan(read_int8[1::2]).all()
    np.testing.assert_array_equal(read_int8[::2], list(int8.values()))
    params = FitPredictorParams(held_out=0.3, coverage=0.9)
    predictor, quality, _ = fit_quantized_and_check(SPACE, archs, read, read_int8, params, seed=0)
    assert (quality["fitted"], quality["held_out"]) == (21, 9)
    assert quality["rmse_points"] < 0.5 * quality["float_predictor"]["rmse_points"]
    assert len(predictor.top1) == 30


@pytest.mark.parametrize("count", [5, 31])
def test_too_few_or_too_many(count: int) -> None:
    with pytest.raises(ValueError, match=rf"int8_architectures: {count} is not 0, or 20 to architectures \(30\)"):
        CollectParams(architectures=30, promising=0.5, int8_architectures=count)
