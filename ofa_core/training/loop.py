"""The training loop of the full network and of every phase of progressive shrinking.

Once-for-All, section 3.4 and its published code: SGD with Nesterov's momentum, cosine decay, label smoothing, one resolution
a step, gradients of the step's sub-networks summed, soft targets of the full network beside the labels.
"""

import math
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ofa_core.arch import Arch
from ofa_core.data.resize import to_input
from ofa_core.nn.network import Network, SuperNetwork
from ofa_core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from ofa_core.training.images import Images, TrainStream, augment
from ofa_core.training.params import TrainingParams

HISTORY_STEPS = 20
"""Steps that one row of the history averages."""
ROLLBACK_FACTOR = 0.5
"""What the learning rate is multiplied by when losses go astray."""

Sampler = Callable[[np.random.Generator, int], list[Arch]]
"""(generator, resolution) -> the sub-networks of a step."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast: epochs (fractions allowed), linear warm-up within them, then a cosine from `lr` to zero."""

    epochs: float
    warmup_epochs: float
    lr: float

    def steps(self, steps_per_epoch: int) -> int:
        """The number of steps in all; at least 1."""
        return max(1, round(self.epochs * steps_per_epoch))

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step."""
        total, warmup = self.steps(steps_per_epoch), round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Who gives soft targets, and their weight beside the labels.

    net: a fixed network, as in Once-for-All; or None: the step's first sub-network teaches the others, which then see no labels
    (in-place distillation of BigNAS, https://arxiv.org/abs/2003.11142; the sandwich sampler draws the largest first).
    """

    net: Network | None
    weight: float


def train(
    net: SuperNetwork,
    images: Images,
    sample: Sampler,
    schedule: Schedule,
    shared: TrainingParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    teacher: Teacher | None = None,
) -> list[dict[str, float]]:
    """Trains `net` in place; returns the history: step, epoch, lr, loss, one row for every `HISTORY_STEPS` steps.

    sample: the sub-networks of a step. work: a folder for checkpoints; training goes on from the one that lies there.
    phase: its name makes the random numbers of phases differ.

    A loss that is not finite, or a sudden multiple of those before, takes training back to the last checkpoint, with half the
    learning rate from there. Raises ValueError when that has happened more than `shared.max_rollbacks` times. SIGTERM writes a
    checkpoint and raises SystemExit.
    """
    stream = TrainStream(images, shared.batch_size, [seed, zlib.crc32(phase.encode())])
    total = schedule.steps(stream.steps_per_epoch)
    net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = _optimizer(net, shared)
    progress = load_checkpoint(work, net, optimizer)
    if progress is None:
        progress = Progress()
        save_checkpoint(work, net, optimizer, progress)  # what the first steps go back to
    saved = time.monotonic()
    with _termination() as terminated, tqdm(desc=phase, unit="step", initial=progress.step, total=total, mininterval=1) as bar:
        while progress.step < total:
            step = progress.step
            rng = np.random.default_rng([*stream.seed, 0, step])
            torch.manual_seed(int(rng.integers(2**63)))  # dropout
            rate = schedule.rate(step, stream.steps_per_epoch) * progress.rate_factor
            for group in optimizer.param_groups:
                group["lr"] = rate
            resolution = int(rng.choice(net.space.resolutions))
            indices = stream.indices(step)
            x = to_input(augment(images.at(resolution)[indices], rng, shared.max_shift, shared.flip))  # (B, 3, r, r)
            x = x.contiguous(memory_format=torch.channels_last)
            loss = _step(net, x, torch.from_numpy(images.labels[indices]), sample(rng, resolution), shared, teacher)
            if _astray(loss, progress, shared.spike_factor):
                progress = _roll_back(loss, progress, shared.max_rollbacks, phase, work, net, optimizer)
                bar.n = progress.step
                continue
            optimizer.step()
            bar.update()
            progress.step += 1
            progress.losses.append(loss)
            if len(progress.losses) == HISTORY_STEPS or progress.step == total:
                mean = sum(progress.losses) / len(progress.losses)
                epoch = progress.step / stream.steps_per_epoch
                progress.history.append({"step": progress.step, "epoch": epoch, "lr": rate, "loss": mean})
                progress.losses = []
            if terminated or time.monotonic() - saved > shared.checkpoint_seconds:
                save_checkpoint(work, net, optimizer, progress)
                saved = time.monotonic()
            if terminated:
                raise SystemExit(f"{phase}: terminated at step {progress.step} of {total}; the next run goes on from here")
    return progress.history


def _step(
    net: SuperNetwork, x: Tensor, labels: Tensor, archs: list[Arch], shared: TrainingParams, teacher: Teacher | None
) -> float:
    """Leaves the summed gradients of the sub-networks in `net`; returns their mean loss."""
    soft, in_place = None, teacher is not None and teacher.net is None
    if teacher is not None and teacher.net is not None and teacher.weight:
        with torch.no_grad():
            soft = teacher.net(x).softmax(1)  # (B, classes)
    net.zero_grad(set_to_none=True)
    total = 0.0
    for i, arch in enumerate(archs):
        net.set_active(arch)
        logits = net(x)  # (B, classes)
        loss = F.cross_entropy(logits, labels, label_smoothing=shared.label_smoothing)
        if soft is not None and teacher is not None:
            loss = teacher.weight * F.cross_entropy(logits, soft) + (0 if in_place else loss)
        if in_place and i == 0:
            soft = logits.detach().softmax(1)
        loss.backward()
        total += loss.item()
    return total / len(archs)


def _astray(loss: float, progress: Progress, spike_factor: float) -> bool:
    """Whether a loss is not finite, or more than `spike_factor` times that of the last row of the history."""
    return not math.isfinite(loss) or (bool(progress.history) and loss > spike_factor * progress.history[-1]["loss"])


def _roll_back(
    loss: float,
    progress: Progress,
    most: int,
    phase: str,
    work: Path,
    net: SuperNetwork,
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Goes back to the last checkpoint and lowers the rate from there on."""
    if progress.rollbacks == most:
        raise ValueError(
            f"{phase}: the loss is {loss:g} at step {progress.step}, after {most} rollbacks; a smaller lr may help"
        )
    before = load_checkpoint(work, net, optimizer)
    assert before is not None  # one is written before the first step
    before.rate_factor, before.rollbacks = progress.rate_factor * ROLLBACK_FACTOR, progress.rollbacks + 1
    save_checkpoint(work, net, optimizer, before)
    tqdm.write(
        f"{phase}: the loss is {loss:g} at step {progress.step}; back to step {before.step}, "
        f"with {before.rate_factor:g} of the planned learning rate"
    )
    return before


@contextmanager
def _termination() -> Iterator[list[int]]:
    """A list that SIGTERM makes non-empty, so that the loop can end between two steps."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _optimizer(net: nn.Module, shared: TrainingParams) -> torch.optim.Optimizer:
    decay = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in net.parameters() if parameter.dim() <= 1]  # batch norms and biases
    groups = [{"params": decay, "weight_decay": shared.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.0, momentum=shared.momentum, nesterov=shared.momentum > 0)
