"""Compares quantisation-aware training with post-training quantisation, on searched networks, equal images and several seeds.

    python -m benchmarks.quantization_aware OUT.csv [--targets fast medium accurate] [--epochs 0.5] [--lr 0.005] [--seeds 3]

Run it after `dvc repro`. Every searched network is fine-tuned twice from the super-network's weights, with the teacher that
params.yaml names, on the same images in the same order. One run trains in float and is then quantised with ranges observed on
train images. The other trains with fake quantisation. The uint8 files are scored on val and test. Column `images` is the number
of images seen. Rows already in OUT.csv are not measured again.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ofa_core.convert.integer import draw_calibration
from ofa_core.export.params import ExportParams
from ofa_core.export.post_or_aware import Candidate, integer_file
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.params import Quantization
from ofa_core.run import files, paths
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.arch import Arch
from ofa_core.space.params import SpaceParams
from ofa_core.specialize.fine_tuning import FineTuning, load_teacher
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.distributed import ALONE
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import TrainingParams

KINDS: tuple[Quantization, ...] = ("post", "aware")
KEYS = ["target", "seed", "quantization", "epochs", "lr"]


class Bench:
    """State that all runs share."""

    def __init__(self, params: ParamsFile, epochs: float, lr: float) -> None:
        self.shared = params.read("training", TrainingParams)
        self.machine = params.read("machine", MachineParams)
        self.export = params.read("export", ExportParams)
        self.params = replace(
            params.read("specialize", SpecializeParams), epochs=epochs, warmup_epochs=0, lr=lr, quantization="both"
        )
        use_threads(self.shared.threads)
        self.train = Images(paths.DATASET, "train")
        self.evaluator = Evaluator(self.train, Images(paths.DATASET, "val"), self.shared.bn_images, 0)
        self.supernet = build_supernet(params.read("space", SpaceParams).build(), len(self.train.classes), self.shared.dropout)
        self.shrunk = paths.supernet(params.read("shrink.last", str))
        self.splits = {name: load_split(paths.DATASET, name) for name in ("train", "val", "test")}

    def pixels(self, split: str, r: int, rows: Any = slice(None)) -> np.ndarray:
        """uint8 (n, r, r, 3)."""
        return to_rgb(resize(self.splits[split].images[rows], r))

    def rows(self, target: str, seed: int) -> Iterator[dict[str, Any]]:
        """Trains and scores both networks of a target. Yields one row each."""
        arch = Arch.from_dict(files.read_json(paths.chosen(target))["arch"])
        chosen = draw_calibration(len(self.train), self.export.calibration_images, seed)
        calibration = self.pixels("train", arch.r, chosen)
        teacher = load_teacher(self.params, self.supernet, paths.supernet("full"), self.shrunk, self.evaluator, arch.r)
        load_weights(self.shrunk, self.supernet)
        self.evaluator.subnet_score(self.supernet, arch)
        start = self.supernet.extract(arch)
        tuning = FineTuning(
            evaluator=self.evaluator, teacher=teacher, params=self.params, shared=self.shared, machine=self.machine,
            phase=target, seed=seed, group=ALONE,
        )  # fmt: skip
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as work:
                module, seconds = tuning.specialize(copy.deepcopy(start), kind, Path(work))
            aware = isinstance(module, FakeQuantized)
            network, ranges = (module.network, module.ranges) if aware else (module, None)
            candidate = Candidate(kind, Path(f"{target}.safetensors"), network.eval(), arch, ranges)
            content = integer_file(candidate, self.export, "composed", calibration)
            row: dict[str, Any] = {"target": target, "seed": seed, "quantization": kind}
            row |= {"epochs": self.params.epochs, "lr": self.params.lr, "seconds": round(seconds, 1)}
            row["images"] = round(self.params.epochs * (len(self.train) // self.shared.batch_size)) * self.shared.batch_size
            row["float_val"] = self.evaluator.score(network, arch.r)
            for split in ("val", "test"):
                labels = self.splits[split].labels
                predicted = TFLiteModel(content).predict(self.pixels(split, arch.r)).argmax(1)
                row[f"uint8_{split}"] = float((predicted == labels).mean())
            yield row


def main() -> None:
    """Appends rows to the CSV as they are measured, and prints means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--targets", nargs="+", default=["fast", "medium", "accurate"])
    parser.add_argument("--epochs", type=float, default=0.5)
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    bench = Bench(ParamsFile("params.yaml"), options.epochs, options.lr)
    done = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=KEYS)
    for target in options.targets:
        for seed in range(options.seeds):
            have = (done["target"] == target) & (done["seed"] == seed) & (done["epochs"] == options.epochs)
            if (have & (done["lr"] == options.lr)).sum() < len(KINDS):
                for row in bench.rows(target, seed):
                    print(row, flush=True)
                    done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
                    files.write_bytes(options.out, done.to_csv(index=False, float_format="%.6g").encode())
    print(
        done.groupby(["target", "quantization"])[["float_val", "uint8_val", "uint8_test"]]
        .agg(["mean", "min", "max"])
        .to_string()
    )


if __name__ == "__main__":
    main()
