"""A process of tests/training/test_distributed.py, which trains and collects as stages do.

`torchrun -m tests.ranks DATASET FOLDER [CRASH_STEP]`
With CRASH_STEP the last process dies silently there, the first time only.
"""

import itertools
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ofa_core.accuracies.collect import collect
from ofa_core.accuracies.journal import Journal
from ofa_core.nn.weights import describe, save_weights
from ofa_core.run import files
from ofa_core.training import images as images_module
from ofa_core.training import loop
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule
from ofa_core.training.shrinking import phase_objective
from tests.small_training import SANDWICH, SHARED, SPACE, fresh, phase_of, train_supernet

STEPS = 20


def main() -> None:
    """Writes net.safetensors and accuracies.json into the folder."""
    dataset, folder = Path(sys.argv[1]), Path(sys.argv[2])
    use_threads(1)
    # In single precision, the order of sums changes their last bits: 1e-8 after one step, a hundred times more with each.
    augment = images_module.augment
    images_module.augment = lambda *args: augment(*args).double()
    with joined("cpu") as group:
        if len(sys.argv) > 3 and group.rank == group.size - 1:
            _die_once(folder / "died", int(sys.argv[3]))
        images = Images(dataset, "train")
        teacher = fresh(9).extract(SPACE.largest()).double().eval()
        net = fresh().double()
        shared = replace(SHARED, batch_size=16, accumulate=2 // group.size, ema_decay=0.5)
        schedule = Schedule(epochs=STEPS / 20, warmup_epochs=0, lr=0.02)
        objective = phase_objective(replace(SANDWICH, teacher="full"), shared, teacher)
        sample = phase_of(net, SANDWICH)
        train_supernet(net, images, folder / "work", sample, schedule, shared, objective=objective, group=group)
        if group.is_first:
            save_weights(folder / "net.safetensors", net, describe(net, SPACE))
        net.float()
        archs = [SPACE.sample(np.random.default_rng(i)) for i in range(5)]
        evaluator = Evaluator(images, Images(dataset, "val"), 64, seed=0)
        measured = collect(net, evaluator, archs, Journal(folder, group.rank), group)
        if group.is_first:
            files.write_json(folder / "accuracies.json", [values["top1"] for values in measured])


def _die_once(mark: Path, step: int) -> None:
    calls, gradients = itertools.count(), loop._gradients

    def dying(*args: Any) -> Any:
        if next(calls) == step and not mark.exists():
            mark.touch()
            os._exit(1)
        return gradients(*args)

    loop._gradients = dying


if __name__ == "__main__":
    main()
