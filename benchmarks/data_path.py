"""Measures the share of a training step that is spent on images: selecting, reading and augmenting them.

    python -m benchmarks.data_path [--params params.yaml] [--side 28] [--channels 1] [--rounds 40]

Images are noise, at the profile's batch size and largest resolution. A step is one forward and backward pass of the largest
sub-network; with more sub-networks per step the share is smaller. Times are CPU time with one torch thread, so other work on
the machine does not count. Work of the threads that read shards counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ofa_core.images.packed import SPLITS, pack
from ofa_core.images.shards import ShardWriter, folder_of
from ofa_core.nn import build_supernet
from ofa_core.run.params import ParamsFile
from ofa_core.space.params import SpaceParams
from ofa_core.training.augment import augment
from ofa_core.training.images import Images, TrainStream
from ofa_core.training.params import TrainingParams

IMAGES = 2048
"""Number of images in the set. Whole batches are drawn from it."""


def packed(folder: Path, kind: str, images: np.ndarray) -> Images:
    """Packs the images as a train split, in memory or in shards."""
    path, labels = folder / kind / "data.npz", np.arange(len(images)) % 10
    if kind == "memory":
        pack(path, dict.fromkeys(SPLITS, (images, labels)), list("0123456789"))
    else:
        colour = np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))
        with ShardWriter(folder_of(path), kind, images.shape[1]) as writer:
            for image, label in zip(colour, labels, strict=True):
                writer.add("train", writer.encode(image), int(label))
        pack(path, dict.fromkeys(SPLITS, (writer.stored("train"), labels)), list("0123456789"))
    return Images(path, "train")


def milliseconds(work: Callable[[int], object], rounds: int) -> float:
    """CPU time of one round, without the first round."""
    work(0)
    started = time.process_time()
    for i in range(1, rounds + 1):
        work(i)
    return (time.process_time() - started) / rounds * 1e3


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--side", type=int, default=28, help="side of stored images in pixels")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = ParamsFile(args.params)
    space, shared = params.read("space", SpaceParams).build(), params.read("training", TrainingParams)
    resolution, batch = space.resolutions[-1], shared.batch_size
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(max(IMAGES, batch), args.side, args.side, args.channels), dtype=np.uint8)

    net = build_supernet(space, 10).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    x = torch.randn(batch, 3, resolution, resolution).contiguous(memory_format=torch.channels_last)
    step = milliseconds(lambda i: F.cross_entropy(net(x), torch.zeros(batch, dtype=torch.long)).backward(), 5)
    print(f"{args.params}: batch {batch}, {args.side} to {resolution} pixels; a step of the largest sub-network {step:.0f} ms")

    crops = replace(shared, crop_scale=(0.08, 1.0))
    colour = replace(crops, brightness=32 / 255, saturation=0.5)
    cases = [("memory", "as in the file", shared), ("memory", "crops", crops), ("memory", "crops, colour", colour)]
    cases += [("png", "crops, colour", colour), ("jpeg", "crops, colour", colour)]
    with tempfile.TemporaryDirectory() as folder:
        for kind, what, chosen in cases:
            stream = TrainStream(packed(Path(folder), kind, pixels), batch, [0])

            def work(i: int, stream: TrainStream = stream, chosen: TrainingParams = chosen) -> None:
                augment(stream.pixels(i, resolution, chosen.crops), np.random.default_rng(i), chosen, resolution)

            data = milliseconds(work, args.rounds)
            print(f"  {kind}, {what}: {data:.2f} ms, {data / (data + step):.1%} of the step", flush=True)


if __name__ == "__main__":
    main()
