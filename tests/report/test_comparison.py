"""The comparison of the stage compare: files of baselines, tables and plots."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa_core.convert.integer import calibrate, convert_integer, draw_calibration
from ofa_core.evaluation.evaluate import correct
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.weights import load_layers, save_layers
from ofa_core.report.comparison import (
    Conversion,
    baseline_files,
    measure_baselines,
    pareto,
    shrinking,
    training_cost,
    uniform_archs,
)
from ofa_core.report.plots import plot_cost, plot_pareto, plot_shrinking
from ofa_core.run import files
from ofa_core.tasks.registry import get_task
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from tests.small_training import SPACE, fresh

CONVERSION = Conversion(hard_swish="composed", calibration="minmax", images=40, seed=7)


def evaluator_of(dataset: Path, split: str = "val") -> Evaluator:
    return Evaluator(Images(dataset, "train"), Images(dataset, split), 64, seed=0)


@pytest.fixture(scope="module")
def weights(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network with statistics of real images, at two resolutions."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    evaluator = evaluator_of(dataset)
    for r in SPACE.resolutions:
        net = fresh().extract(SPACE.smallest(r))
        evaluator.calibrate(net, r)
        found[f"smallest_r{r}"] = folder / f"{r}.safetensors"
        save_layers(found[f"smallest_r{r}"], net)
    return found


def test_baselines_are_calibrated_with_the_images_of_searched_networks(dataset: Path, weights: dict[str, Path]) -> None:
    """The draw of the stage export: at random, by its seed, whatever the network."""
    train = load_split(dataset, "train")
    chosen = np.random.default_rng(7).choice(320, 40, replace=False)
    assert draw_calibration(320, 40, 7).tolist() == chosen.tolist()
    assert sorted(draw_calibration(30, 40, 7)) == list(range(30))
    assert isinstance(train.images, np.ndarray)
    for path in weights.values():
        net = load_layers(path)
        images = to_rgb(resize(train.images[chosen], net.active[0].resolution))
        expected = convert_integer(net, calibrate(net, images, "minmax", "composed"))
        assert baseline_files(net, train, CONVERSION)["uint8"] == expected
        assert baseline_files(net, train, CONVERSION._replace(seed=8))["uint8"] != expected


def test_baselines_are_measured_at_their_resolution(dataset: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    train, test, task = load_split(dataset, "train"), load_split(dataset, "test"), get_task("classification")
    timing = EvaluateParams(threads=1, instances=1, milliseconds=1)
    measured = measure_baselines(weights, train, test, CONVERSION, timing, task)
    assert measured.keys() == weights.keys()
    for r in SPACE.resolutions:
        found = measured[f"smallest_r{r}"]
        model = tmp_path / f"{r}.tflite"
        model.write_bytes(baseline_files(load_layers(weights[f"smallest_r{r}"]), train, CONVERSION)["uint8"])
        right = correct(model, to_rgb(resize(test.images, r)), test.labels, task)
        assert right.shape == (len(test.labels),)
        assert found["top1"] == right.mean()
        assert found["latency_ms"] > 0
        assert {"float_top1", "float_latency_ms"} <= found.keys()


def test_every_point_has_its_family_and_standard_error() -> None:
    measured = {"latency_ms": 0.2, "top1": 0.9, "float_latency_ms": 0.3, "float_top1": 0.91, "top5": 1.0}
    baselines = {"v2": measured | {"latency_ms": 0.1}, "smallest": measured | {"latency_ms": 0.05, "top1": 0.5}}
    points = pareto({"fast": measured}, baselines, {"v2": "mobilenet_v2", "smallest": "alone"}, 10_000)
    assert list(points.columns) == ["family", "name", "latency_ms", "top1", "top1_se", "float_latency_ms", "float_top1"]
    assert points[["family", "name"]].values.tolist() == [["alone", "smallest"], ["mobilenet_v2", "v2"], ["searched", "fast"]]
    assert points["top1_se"].tolist() == pytest.approx([0.005, 0.003, 0.003])
    assert points["float_top1"].tolist() == [0.91] * 3


def test_the_gain_from_shrinking(dataset: Path) -> None:
    archs = uniform_archs(SPACE)
    assert list(archs.values())[::2] == [SPACE.smallest(24), SPACE.largest(24)]
    on_test, on_val = (evaluator_of(dataset, split) for split in ("test", "val"))
    shrunk = fresh(1)
    on_val.subnet_score(shrunk, archs["middle"])
    worth = shrinking(fresh(0), shrunk, archs, {"middle": shrunk.extract(archs["middle"]).eval()}, on_test, on_val)
    assert list(worth["name"]) == ["smallest", "middle", "largest"]
    assert worth["alone"].notna().tolist() == [False, True, False]
    for suffix, split in (("", "test"), ("_val", "val")):
        assert worth[f"alone{suffix}"][1] == worth[f"shrunk{suffix}"][1]  # the same network, here
        right = worth[f"cut{suffix}"] * len(Images(dataset, split))
        assert right.tolist() == pytest.approx(right.round().tolist())


STAGES = [{"cpu_core_hours": 2.0}, {"cpu_core_hours": 1.0}]


def baseline(*hours: float) -> dict[str, Any]:
    """The report of a baseline; the first training was kept."""
    return {"cpu_core_hours": hours[0], "sweep": [{"cpu_core_hours": each} for each in hours]}


def test_hours_count_fine_tuning_and_every_learning_rate() -> None:
    hours = training_cost(STAGES, [{"cpu_core_hours": 0.25}, {"cpu_core_hours": 0.75}], [baseline(1, 4), baseline(2, 2, 3)])
    four = hours[hours["targets"] == 4].iloc[0].to_dict()
    expected = {"once_for_all": 3 + 4 * 0.5, "fine_tuning": 4 * 0.5, "each_alone": 4 * 1.5, "each_alone_sweep": 4 * 6.0}
    assert four == expected | {"targets": 4, "unit": "cpu_core_hours"}
    without = training_cost(STAGES, [{}], [])
    assert "each_alone" not in without
    assert not without["fine_tuning"].any()
    assert training_cost([{"gpu_hours": 2.0}], [], [])["unit"].iloc[0] == "gpu_hours"


def test_plots_show_what_there_is_and_repeat(dataset: Path, tmp_path: Path) -> None:
    point = {"latency_ms": 0.2, "top1": 0.9}
    families = dict(zip("abcd", ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "alone"), strict=True))
    points = pareto({"fast": point}, dict.fromkeys(families, point), families, 100)
    worth = shrinking(fresh(0), fresh(1), {"only": SPACE.smallest(20)}, {}, *[evaluator_of(dataset)] * 2)
    tuned = training_cost(STAGES, [{"cpu_core_hours": 1.0}], [baseline(1, 2)])
    plain = training_cost(STAGES, [{}], [baseline(1)])
    shown = {}
    for name, plot, table in (
        ("points", plot_pareto, points),
        ("worth", plot_shrinking, worth),
        ("tuned", plot_cost, tuned),
        ("plain", plot_cost, plain),
    ):
        paths = [tmp_path / f"{name}{i}.svg" for i in range(2)]
        for path in paths:
            plot(path, table)
        assert files.md5(paths[0]) == files.md5(paths[1])
        shown[name] = paths[0].read_text()  # each text is a comment beside its outlines
    assert "<!-- sub-networks trained alone -->" in shown["points"]
    assert "<!-- mobilenet_v3_large -->" in shown["points"]
    for label in ("of which fine-tuning", "the same, all learning rates"):
        assert f"<!-- {label} -->" in shown["tuned"]
        assert f"<!-- {label} -->" not in shown["plain"]
    assert "<!-- each network alone -->" in shown["plain"]
