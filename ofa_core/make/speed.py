"""How fast this machine is: a few training steps of the smallest, a middle and the largest network, and a start of Python."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from ofa_core.make.duration import Speed
from ofa_core.nn import build_supernet
from ofa_core.run.memory import keep_freed_memory
from ofa_core.space.base import Space
from ofa_core.tasks.registry import get_task
from ofa_core.training.ema import MovingAverage
from ofa_core.training.shrinking import corners

PIXELS = 2**20
"""Most pixels of a timed step: 64 images of 128 pixels, 20 of 224. Time grows evenly with the images beyond that."""
REPEATS = 5
"""Most timed steps of a network."""
SECONDS = 3
"""Time after which a network is not timed once more."""


def measure(space: Space, classes: int, batch_size: int, threads: int) -> Speed:
    """Times training steps at the space's largest resolution on random images, for up to ten seconds.

    classes: outputs of the networks. batch_size: images of a step. threads: CPU threads; 0: torch's own choice.
    """
    keep_freed_memory()  # as training does
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _measure(space, classes, batch_size)
    finally:
        torch.set_num_threads(before)


def _measure(space: Space, classes: int, batch_size: int) -> Speed:
    resolution, task = space.resolutions[-1], get_task("classification")
    count = max(2, min(batch_size, PIXELS // resolution**2))
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
    optimizer, average = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9), MovingAverage(net, 0.99)

    def update() -> None:
        optimizer.step()
        average.update(net, 0)

    return Speed(per_image=per_image, update=_seconds(update), start=min(_seconds_to_start() for _ in range(2)))


def _seconds_to_start() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def _seconds(work: Callable[[], None]) -> float:
    """The median time of a call, the first one left out."""
    work()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < SECONDS:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)
