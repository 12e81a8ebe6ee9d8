"""Searched networks against networks trained one by one: accuracy, latency, the gain from shrinking, the cost of training."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from ofa_core.convert.hard_swish import choose_hard_swish
from ofa_core.convert.integer import calibrate, draw_calibration, quantize
from ofa_core.convert.network import tf_network
from ofa_core.convert.params import HardSwishChoice
from ofa_core.convert.tflite import convert_float
from ofa_core.evaluation.evaluate import measure
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.images.packed import Split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.network import Network, SuperNetwork
from ofa_core.nn.uniform_input import with_uniform_input
from ofa_core.nn.weights import load_layers
from ofa_core.quantization.params import Calibration
from ofa_core.report.intervals import standard_error
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.tasks.task import Task
from ofa_core.training.evaluation import Evaluator

MOST_TARGETS = 40
"""Most targets for which the cost of training is drawn. Once-for-All's comparison (table 1) is for 40."""


class Conversion(NamedTuple):
    """Section `export`'s settings for integer files. images, seed: how many train images calibrate, and what draws them."""

    hard_swish: HardSwishChoice
    calibration: Calibration
    images: int
    seed: int


def measure_baselines(
    weights: Mapping[str, Path], train: Split, test: Split, conversion: Conversion, timing: EvaluateParams, task: Task
) -> dict[str, dict[str, float]]:
    """Measures the uint8 and the float file of each network on the test split.

    weights: of networks that `save_layers` wrote, by name. Returns the results of `measure` by name.
    """
    measured = {}
    for name, path in tqdm(weights.items(), desc="baselines", unit="net"):
        net = with_uniform_input(load_layers(path))
        content = baseline_files(net, train, conversion)
        with tempfile.TemporaryDirectory() as folder:
            models = {kind: Path(folder, f"{name}_{kind}.tflite") for kind in content}
            for kind, model in models.items():
                model.write_bytes(content[kind])
            images = to_rgb(resize(test.images, net.active[0].resolution))
            measured[name] = measure(models, images, test.labels, timing, task, **net.normalization.scalars)
    return measured


def baseline_files(net: Network, train: Split, conversion: Conversion) -> dict[str, bytes]:
    """The uint8 and the float file of a network, converted like a searched one, with the same images for calibration."""
    chosen = draw_calibration(len(train.images), conversion.images, conversion.seed)
    hard_swish, _ = choose_hard_swish(conversion.hard_swish, net.active)
    images = to_rgb(resize(train.images[chosen], net.active[0].resolution))
    ranges = calibrate(net, images, conversion.calibration, hard_swish)
    whole = tf_network(net, hard_swish=hard_swish)
    float_file = convert_float(whole)
    return {"uint8": quantize(float_file, whole.ops, ranges), "float": float_file}


def pareto(
    searched: Mapping[str, Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, Any]],
    families: Mapping[str, str],
    images: int,
) -> pd.DataFrame:
    """One row per network: family, name, latency_ms and top1 of the uint8 file, top1_se, and both for the float file.

    families: of the baselines. images: in the test split, from which top1_se follows: the standard error of top1.
    """
    columns = ["family", "name", "latency_ms", "top1", "top1_se", "float_latency_ms", "float_top1"]
    found = [("searched", name, metrics) for name, metrics in searched.items()]
    found += [(families[name], name, metrics) for name, metrics in baselines.items()]
    rows = [
        {**metrics, "family": family, "name": name, "top1_se": standard_error(metrics["top1"], images)}
        for family, name, metrics in found
    ]
    return pd.DataFrame(rows, columns=columns).sort_values(["family", "latency_ms"], ignore_index=True)


def uniform_archs(space: Space) -> dict[str, Arch]:
    """The smallest, a middle and the largest sub-network, each with the same choice everywhere, at the largest resolution."""
    picks = {"smallest": lambda n: 0, "middle": lambda n: n // 2, "largest": lambda n: n - 1}
    codes = np.array([[pick(len(gene.choices)) for gene in space.genes] for pick in picks.values()])
    archs = space.decode(codes, np.full(len(picks), space.resolutions[-1]))
    return dict(zip(picks, archs, strict=True))


def shrinking(
    full: SuperNetwork,
    shrunk: SuperNetwork,
    archs: Mapping[str, Arch],
    alone: Mapping[str, Network],
    test: Evaluator,
    val: Evaluator,
) -> pd.DataFrame:
    """The gain from progressive shrinking: top-1 of sub-networks cut from the full network (cut), after all phases (shrunk),
    and trained alone, if they were (alone). Each has recalibrated batch norm statistics.

    test, val: for the splits. Columns for val are cut_val, shrunk_val, alone_val.
    """
    rows = []
    for name, arch in archs.items():
        row: dict[str, Any] = {"name": name}
        for suffix, evaluator in (("", test), ("_val", val)):
            row[f"cut{suffix}"] = evaluator.subnet_score(full, arch)
            row[f"shrunk{suffix}"] = evaluator.subnet_score(shrunk, arch)
            row[f"alone{suffix}"] = evaluator.score(alone[name], arch.r) if name in alone else None
        rows.append(row)
    return pd.DataFrame(rows)


def training_cost(
    supernet: list[Mapping[str, Any]], each: list[Mapping[str, Any]], alone: list[Mapping[str, Any]]
) -> pd.DataFrame:
    """Device hours for 1 to `MOST_TARGETS` targets: once for all, and each network trained alone.

    supernet: metrics of the stages that run once. each: of those that run for every target. alone: of baselines.

    Columns: once_for_all is everything, of which fine_tuning is for the targets one by one; each_alone is the training of the
    networks that were kept, each_alone_sweep that with all learning rates. Without baselines, the last two are missing. unit:
    hours are of GPUs if any were used, otherwise of CPU cores.
    """
    key = "gpu_hours" if any("gpu_hours" in metrics for metrics in supernet) else "cpu_core_hours"
    once = sum(metrics.get(key, 0.0) for metrics in supernet)
    targets = np.arange(1, MOST_TARGETS + 1)
    fine_tuning = targets * (float(np.mean([metrics.get(key, 0.0) for metrics in each])) if each else 0.0)
    table = pd.DataFrame({"targets": targets, "once_for_all": once + fine_tuning, "fine_tuning": fine_tuning})
    if alone:
        table["each_alone"] = float(np.mean([metrics[key] for metrics in alone])) * targets
        sweeps = [sum(attempt[key] for attempt in metrics["sweep"]) for metrics in alone]
        table["each_alone_sweep"] = float(np.mean(sweeps)) * targets
    return table.assign(unit=key)
