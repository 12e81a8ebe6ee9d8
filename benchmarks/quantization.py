"""Measures the accuracy loss of integer files, and whether corrections recover it, on trained and published networks.

    python -m benchmarks.quantization trained WORK [--data build/data/classification.npz] [--epochs 2]
    python -m benchmarks.quantization photos PHOTOS.zip NET.config WEIGHTS [--splits 3] [--options none ...] [--kernels]
    python -m benchmarks.quantization mixed WORK [--data build/data/classification.npz]

trained: a ReLU6 network without squeeze-excite (space ofa_small_k7) and an h-swish network with it (ofa_small_se), trained from
  scratch and kept in WORK. Calibrated on 200 train images, scored on all test images.
photos: a published ImageNet network. Calibrated on a random half of the photos and scored on the other half, then the reverse,
  for several splits. --kernels instead compares XNNPACK with the reference kernels on 100 photos.
mixed: the effect of `export.choose_float` on the small networks.
"""

import argparse
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from benchmarks.corrections import correct_biases, equalise
from ofa_core.baselines.params import SubnetParams
from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.tflite import convert_float
from ofa_core.export.mixed_precision import choose_keep_float
from ofa_core.export.params import ChooseFloatParams
from ofa_core.export.parity import compare_kernels
from ofa_core.images.decode import centre, decode
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.inputs import to_input
from ofa_core.nn.network import Network
from ofa_core.nn.official import load_specialized
from ofa_core.nn.weights import load_layers, save_layers
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.runtime.host import time_in_turns
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.ops import HardSwish
from ofa_core.space.registry import get_space
from ofa_core.tasks.registry import get_task
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, always, train
from ofa_core.training.objective import Objective
from ofa_core.training.params import TrainingParams

TASK = get_task("classification")
SUBNET = SubnetParams(kernel_size=3, depth=2, expand_ratio=4, resolution=28)
FORMS: Mapping[str, tuple[HardSwish, ...]] = {"ofa_small_k7": ("composed",), "ofa_small_se": ("composed", "fused")}
"""Spaces of the small networks, and the forms of hard swish that matter for each."""
CALIBRATION_IMAGES, OTHERS = 200, 500
"""Numbers of train images for calibration, and for choosing layers."""
OPTIONS: Mapping[str, Callable[[Network, torch.Tensor], Network]] = {
    "none": lambda net, x: net,
    "bias correction": correct_biases,
    "equalisation": equalise,
    "both": lambda net, x: correct_biases(equalise(net, x), x),
}
"""Changes to a network before it is quantised, given calibration images (n, 3, r, r)."""


class Scored(NamedTuple):
    """Images uint8 (n, r, r, 3) and labels (n,) for scoring, images for calibration, and images for choosing layers."""

    images: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    others: np.ndarray | None = None


def trained(space_name: str, data: Path, epochs: float, work: Path) -> Network:
    """A small sub-network of a space, trained from scratch on a packed data set. `work` keeps it and its checkpoints."""
    path = work / f"{space_name}_{epochs:g}.safetensors"
    if path.exists():
        return load_layers(path)
    images, params = Images(data, "train"), ParamsFile("params.yaml")
    shared, machine = params.read("training", TrainingParams), params.read("machine", MachineParams)
    shared = replace(shared, flip=True, label_smoothing=0.1)
    space = get_space(space_name, 1.0, (SUBNET.resolution,))
    torch.manual_seed(0)
    net = Network(space.layers(SUBNET.arch(space), len(images.classes)))
    schedule = Schedule(epochs=epochs, warmup_epochs=0.2, lr=0.1)
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        objective = Objective.alone(shared.label_smoothing, shared.dropout)
        train(net, images, always(net), objective, schedule, shared, machine, phase=space_name, seed=0, work=folder)
    Evaluator(images, Images(data, "val"), shared.bn_images, 0).calibrate(net, SUBNET.resolution)
    save_layers(path, net)
    return load_layers(path)


def packed(data: Path, resolution: int) -> Scored:
    """The test split for scoring, and train images for calibration."""
    train, test = load_split(data, "train"), load_split(data, "test")
    chosen = np.random.default_rng(0).choice(len(train.labels), CALIBRATION_IMAGES, replace=False)
    rest = np.setdiff1d(np.arange(len(train.labels)), chosen)[:OTHERS]
    parts = (test.images, train.images[chosen], train.images[rest])
    images, calibration, others = (to_rgb(resize(part, resolution)) for part in parts)
    return Scored(images, test.labels, calibration, others)


def photos(archive: Path, resolution: int, splits: int) -> Iterator[tuple[str, Scored]]:
    """Photos from an archive with images/ and labels.csv. Each half is scored in turn, with the other half for calibration."""
    side = round(resolution / 0.875)
    with zipfile.ZipFile(archive) as stored:
        table = pd.read_csv(BytesIO(stored.read("labels.csv")))
        contents = [stored.read(f"images/{name}") for name in table["file"]]
    pixels = np.stack([np.asarray(centre(decode(content), side, (resolution, resolution))) for content in contents])
    labels = table["imagenet_class_index"].to_numpy()
    for seed in range(splits):
        halves = np.array_split(np.random.default_rng(seed).permutation(len(labels)), 2)
        for i, (scored, rest) in enumerate((halves, halves[::-1])):
            yield f"{seed}.{i}", Scored(pixels[scored], labels[scored], pixels[rest])


def compare(net: Network, data: Scored, form: HardSwish, options: Sequence[str]) -> list[dict[str, object]]:
    """A row per option: top1 of the float and the uint8 file, share of equal classes, mean squared difference of probabilities.

    The float file is always that of the unchanged network.
    """
    exact = TFLiteModel(convert_float(tf_network(net, hard_swish=form))).predict(data.images)  # (n, classes)
    top1_float, rows = (exact.argmax(1) == data.labels).mean(), []
    for name in options:
        changed = OPTIONS[name](net, to_input(data.calibration))
        ranges = calibrate(changed, data.calibration, "minmax", form)
        coarse = TFLiteModel(convert_integer(changed, ranges, form)).predict(data.images)
        top1 = (coarse.argmax(1) == data.labels).mean()
        row = {"hard_swish": form, "option": name, "top1_float": top1_float, "top1_uint8": top1, "drop": top1_float - top1}
        row |= {"agreement": (coarse.argmax(1) == exact.argmax(1)).mean(), "mse": ((coarse - exact) ** 2).sum(1).mean()}
        rows.append(row)
    return rows


def mixture(net: Network, data: Scored, form: HardSwish) -> pd.DataFrame:
    """Prints the trials of `export.choose_float`. Returns rows for the float file and the integer files without and with it."""
    assert data.others is not None
    params = ChooseFloatParams(images=len(data.others), max_slowdown=1.5, min_agreement=1.0)
    ranges = calibrate(net, data.calibration, "minmax", form)
    mixed = choose_keep_float(net, ranges, form, data.others, params, task=TASK)
    print(pd.DataFrame(mixed.rows).to_string(index=False))
    contents = {"float": convert_float(tf_network(net, hard_swish=form))}
    contents |= {str(names): convert_integer(net, ranges, form, keep_float=names) for names in ((), mixed.keep_float)}
    latency, exact = time_in_turns(contents), TFLiteModel(contents["float"]).predict(data.images)
    rows = []
    for name, content in contents.items():
        found = TFLiteModel(content).predict(data.images)
        same = (found.argmax(1) == exact.argmax(1)).mean()
        top1 = (found.argmax(1) == data.labels).mean()
        rows.append({"in float": name, "top1": top1, "agreement": same, "mse": ((found - exact) ** 2).sum(1).mean()})
        rows[-1] |= {"ms": latency[name], "bytes": len(content)}
    return pd.DataFrame(rows)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("trained", "mixed"):
        small = commands.add_parser(name)
        small.add_argument("work", type=Path)
        small.add_argument("--data", type=Path, default=Path("build/data/classification.npz"))
        small.add_argument("--epochs", type=float, default=2)
    published = commands.add_parser("photos")
    for name in ("photos", "config", "weights"):
        published.add_argument(name, type=Path)
    published.add_argument("--splits", type=int, default=3, help="random splits, two halves each")
    published.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    published.add_argument("--kernels", action="store_true")
    args = parser.parse_args()
    use_threads(0)
    table = of_photos(args) if args.command == "photos" else of_trained(args)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    if args.command == "photos" and not args.kernels:
        means = table.groupby("option", sort=False)[["top1_float", "top1_uint8", "drop", "agreement", "mse"]].mean()
        print(means.to_string(float_format="{:.4f}".format))


def of_trained(args: argparse.Namespace) -> pd.DataFrame:
    """Results of the small networks."""
    data, tables = packed(args.data, SUBNET.resolution), []
    for space, forms in FORMS.items():
        net = trained(space, args.data, args.epochs, args.work)
        if args.command == "mixed":
            table = mixture(net, data, "composed")
        else:
            table = pd.DataFrame([row for form in forms for row in compare(net, data, form, list(OPTIONS))])
        table.insert(0, "network", space)
        tables.append(table)
    return pd.concat(tables)


def of_photos(args: argparse.Namespace) -> pd.DataFrame:
    """Results of the published network."""
    net, rows = load_specialized(args.config, args.weights), []
    for name, half in photos(args.photos, net.active[0].resolution, args.splits):
        if args.kernels:
            content = convert_integer(net, calibrate(net, half.calibration, "minmax", "composed"))
            rows.append({"half": name} | compare_kernels(content, half.images[:100], TASK))
        else:
            rows += [{"half": name} | row for row in compare(net, half, "composed", args.options)]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
