"""How fast this machine is: a few training steps of three networks, their input, and a start of Python."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from ofa_core.make.duration import Speed
from ofa_core.nn import build_supernet
from ofa_core.run.memory import keep_freed_memory
from ofa_core.space.base import Space
from ofa_core.tasks.registry import get_task
from ofa_core.training.augment import augment
from ofa_core.training.ema import MovingAverage
from ofa_core.training.params import TrainingParams
from ofa_core.training.shrinking import corners

PIXELS = 2**20
"""Most pixels of a timed step: 64 images of 128 pixels, 20 of 224. Time grows evenly with the images beyond that."""
REPEATS = 5
"""Most timed steps of a network."""
SECONDS = 3
"""Time after which a network is not timed once more."""


def measure(space: Space, classes: int, shared: TrainingParams, image_size: int) -> Speed:
    """Times training steps at the space's largest resolution on random images, for up to ten seconds.

    classes: outputs of the networks. shared: batch size, CPU threads and augmentation. image_size: pixels of the stored images.
    """
    keep_freed_memory()  # as training does
    before = torch.get_num_threads()
    torch.set_num_threads(shared.threads or before)
    try:
        return _measure(space, classes, shared, image_size)
    finally:
        torch.set_num_threads(before)


def _measure(space: Space, classes: int, shared: TrainingParams, image_size: int) -> Speed:
    resolution, task = space.resolutions[-1], get_task("classification")
    count = max(2, min(shared.batch_size, PIXELS // resolution**2))
    images = torch.rand(count, 3, resolution, resolution).contiguous(memory_format=torch.channels_last)  # (B, 3, r, r)
    labels = torch.arange(count) % classes  # (B,)
    net = build_supernet(space, classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()

    def step() -> None:
        net.zero_grad(set_to_none=True)
        task.loss(net(images), labels, 0.0).backward()

    per_image = {}
    for role, arch in corners(space).items():
        net.set_active(arch)
        per_image[role] = _seconds(step) / count
    pixels, rng = torch.zeros((count, image_size, image_size, 3), dtype=torch.uint8), np.random.default_rng(0)
    per_input = _seconds(lambda: augment(pixels, rng, shared, resolution)) / count
    optimizer, average = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9), MovingAverage(net, 0.99)

    def update() -> None:
        optimizer.step()
        average.update(net, 0)

    start = min(_seconds_to_start() for _ in range(2))
    return Speed(per_image=per_image, input=per_input, update=_seconds(update), start=start)


def _seconds_to_start() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def _seconds(work: Callable[[], object]) -> float:
    """The median time of a call, the first one left out."""
    work()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < SECONDS:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)
