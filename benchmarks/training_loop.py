"""Times the whole training loop: ours against a plain version of the published method, and the share of a step for images.

    python -m benchmarks.training_loop [--space ofa_mbv3] [--resolution 32] [--batch 64] [--threads 2] [--steps 20] [--rounds 5]

Both loops train random sub-networks on the packed Fashion-MNIST images (build/data/classification.npz, from the stage prepare),
starting from the same weights. Ours is `ofa_core.training.loop.train`, as the stages call it. The plain loop draws, resizes,
flips and normalises images one by one, and runs the network of benchmarks.train_step. Rounds alternate. It prints medians.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.train_step import PlainNetwork
from ofa_core.nn import build_supernet
from ofa_core.run import paths
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space
from ofa_core.training.evaluation import use_threads
from ofa_core.training.images import Images, TrainStream
from ofa_core.training.loop import Schedule, train
from ofa_core.training.objective import Objective, Subnet
from ofa_core.training.params import TrainingParams

LR = 0.01
MACHINE = MachineParams(launcher="python", tensorboard=False, checkpoint_seconds=3600.0)


def ours(images: Images, space: Space, resolution: int, shared: TrainingParams, steps: int) -> tuple[float, float]:
    """Seconds per step, and the share of it that is spent on images."""
    torch.manual_seed(0)
    net = build_supernet(space, len(images.classes))
    schedule = Schedule(epochs=steps * shared.batch_size / len(images), warmup_epochs=0, lr=LR)
    objective = Objective.alone(shared.label_smoothing, shared.dropout)
    on_data, parts = 0.0, TrainStream.parts

    def sample(rng: np.random.Generator) -> list[Subnet]:
        return [Subnet(space.layers(replace(space.sample(rng), r=resolution), len(images.classes)))]

    def timed(*args: Any) -> list[tuple[Any, torch.Tensor]]:
        """The parts of a step, whose images are made here and kept."""
        nonlocal on_data
        started, made = time.perf_counter(), list(parts(*args))
        for at, _ in made:
            at(resolution)
        on_data += time.perf_counter() - started
        return made

    TrainStream.parts = timed  # type: ignore[assignment, method-assign]
    try:
        with tempfile.TemporaryDirectory() as work:
            progress = train(net, images, sample, objective, schedule, shared, MACHINE, phase="bench", seed=0, work=Path(work))
    finally:
        TrainStream.parts = parts  # type: ignore[method-assign]
    return progress.seconds / progress.step, on_data / progress.seconds


def plain(images: Images, space: Space, resolution: int, shared: TrainingParams, steps: int) -> float:
    """Seconds per step."""
    torch.manual_seed(0)
    net = PlainNetwork(build_supernet(space, len(images.classes)))
    optimiser = torch.optim.SGD(
        net.parameters.values(), LR, momentum=shared.momentum, nesterov=True, weight_decay=shared.weight_decay
    )
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(steps):
        indices = rng.integers(len(images), size=shared.batch_size)
        xs = []
        for pixels in images.images[indices]:
            image = Image.fromarray(pixels[..., 0]).convert("RGB").resize((resolution, resolution), Image.Resampling.BILINEAR)
            if rng.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            xs.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1)
        x, labels = torch.stack(xs), torch.from_numpy(images.labels[indices])  # (B, 3, r, r), (B,)
        net.active = space.layers(replace(space.sample(rng), r=resolution), len(images.classes))
        optimiser.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimiser.step()
    return (time.perf_counter() - started) / steps


def main() -> None:
    """Runs both and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa_mbv3")
    for name, value in (("resolution", 32), ("batch", 64), ("threads", 2), ("steps", 20), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    use_threads(args.threads)
    shared = ParamsFile("params.yaml").read("training", TrainingParams)
    shared = replace(shared, batch_size=args.batch, flip=True, device="cpu")
    images, space = Images(paths.DATASET, "train"), get_space(args.space)
    images.at(args.resolution)  # happens once per training, so it is not part of a step
    times: list[tuple[float, float, float]] = []
    for _ in range(args.rounds):
        step, share = ours(images, space, args.resolution, shared, args.steps)
        times.append((step, share, plain(images, space, args.resolution, shared, args.steps)))
    step, share, slow = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(slow_step / our_step for our_step, _, slow_step in times)
    print(f"{args.space}, {args.resolution} pixels, batch {args.batch}, {args.threads} threads:")
    print(f"ours {args.batch / step:.1f} images/s of one sub-network, plain {args.batch / slow:.1f}, ratio {ratio:.2f}")
    print(f"images take {share:.1%} of our step")


if __name__ == "__main__":
    main()
