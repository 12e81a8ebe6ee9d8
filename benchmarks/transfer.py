"""Measures the benefit of starting from a trained network with few photos: three classes of CIFAR-10 after the other seven.

    python -m benchmarks.transfer CIFAR10.zip [--classes dog frog horse] [--images 1500] [--epochs 8] [--seeds 3]

CIFAR10.zip contains train/CLASS/*.jpg and test/CLASS/*.jpg. A full network is trained on the other classes. Then networks are
trained on a few images of the named classes for equal epochs: one from scratch, and one from those weights with a new
classifier, as with `train_supernet.init`. It prints top-1 on the val images of the named classes for every seed.
"""

import argparse
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import torch

from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import prepare
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import describe, save_weights, transfer
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.space.registry import get_space
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, train
from ofa_core.training.objective import Objective
from ofa_core.training.params import TrainingParams
from ofa_core.training.shrinking import full_part, full_sampler

SPACE = get_space("ofa_small_k7", 1.0, (24, 28, 32))
SIZE = 32


def pack(archive: Path, folder: Path, classes: list[str], train_images: int) -> Path:
    """Prepares some classes of the archive as a data set and returns its path. val is 200 test images per class."""
    with zipfile.ZipFile(archive) as images:
        names = [name for name in images.namelist() if name.split("/")[-2:-1] and name.split("/")[-2] in classes]
        images.extractall(folder / "images", names)
    (folder / "images/test").rename(folder / "images/val")
    params = PrepareParams(
        dataset="folder", folder=str(folder / "images"), image_size=SIZE, class_names=None, train_images=train_images,
        val_images=200 * len(classes), test_images=len(classes), max_broken=0, leaks="report", shards=None,
    )  # fmt: skip
    prepare(params, 0, folder, folder / "packed.npz")
    return folder / "packed.npz"


def run(data: Path, schedule: Schedule, shared: TrainingParams, seed: int, init: Path | None, out: Path | None) -> float:
    """Trains a full network, from `init` if given, and writes it to `out` if given. Returns top-1 on val (0..1)."""
    images, machine = Images(data, "train"), ParamsFile("params.yaml").read("machine", MachineParams)
    torch.manual_seed(seed)
    net = build_supernet(SPACE, len(images.classes))
    if init is not None:
        transfer(init, net)
    sample, objective = full_sampler(net), Objective.alone(shared.label_smoothing, shared.dropout)
    with tempfile.TemporaryDirectory() as work:
        train(net, images, sample, objective, schedule, shared, machine, phase="full", seed=seed, work=Path(work))
    if out is not None:
        save_weights(out, net, describe(net, full_part(SPACE)))
    evaluator = Evaluator(images, Images(data, "val"), shared.bn_images, seed)
    return evaluator.subnet_score(net, SPACE.largest(SIZE))


def main() -> None:
    """Trains the source network, then each pair, and prints their accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--classes", nargs="+", default=["dog", "frog", "horse"])
    for name, value in (("images", 1500), ("epochs", 8), ("seeds", 3), ("source_epochs", 3)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = parser.parse_args()
    use_threads(0)
    shared = replace(ParamsFile("params.yaml").read("training", TrainingParams), flip=True)
    with zipfile.ZipFile(args.archive) as images:
        others = sorted({name.split("/")[1] for name in images.namelist() if name.count("/") == 2} - set(args.classes))
    with tempfile.TemporaryDirectory() as folder:
        source, target = (pack(args.archive, Path(folder, name), classes, count) for name, classes, count in (
            ("source", others, 0), ("target", args.classes, args.images)
        ))  # fmt: skip
        weights = Path(folder, "source.safetensors")
        found = run(source, Schedule(epochs=args.source_epochs, warmup_epochs=0.2, lr=0.1), shared, 0, None, weights)
        print(f"source: {', '.join(others)}: {found:.1%} on val")
        schedule = Schedule(epochs=args.epochs, warmup_epochs=0.5, lr=0.05)
        for seed in range(args.seeds):
            nothing, init = (run(target, schedule, shared, seed, start, None) for start in (None, weights))
            what = f"{args.images} images of {', '.join(args.classes)}, seed {seed}"
            print(f"{what}: from nothing {nothing:.1%}, transfer {init:.1%}")


if __name__ == "__main__":
    main()
