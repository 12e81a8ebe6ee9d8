"""The training loop for the full network, every phase of progressive shrinking, and single networks.

As in Once-for-All, section 3.4, and its code: SGD with Nesterov momentum, cosine decay and label smoothing. A step
uses one resolution and sums its sub-networks' gradients. The full network's soft targets are used beside the labels.
"""

import math
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ofa_core.nn.network import LayerModule, Network
from ofa_core.run.machine import MachineParams
from ofa_core.space.layers import Layer
from ofa_core.tasks.task import Task
from ofa_core.training.augment import augment
from ofa_core.training.checkpoint import Progress, TrainingState
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.ema import MovingAverage
from ofa_core.training.images import Images, TrainStream
from ofa_core.training.monitor import Live
from ofa_core.training.params import TrainingParams

HISTORY_STEPS = 20
"""Steps averaged in one row of the history."""
ROLLBACK_FACTOR = 0.5
"""Factor on the learning rate at each rollback."""

Sampler = Callable[[np.random.Generator, int], list[list[Layer]]]
"""(generator, resolution) -> the sub-networks of a step, each as its layers."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast: epochs (fractions allowed), linear warm-up within them, then a cosine from `lr` to zero."""

    epochs: float
    warmup_epochs: float
    lr: float

    def steps(self, steps_per_epoch: int) -> int:
        """The total number of steps, at least 1."""
        return max(1, round(self.epochs * steps_per_epoch))

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step."""
        total, warmup = self.steps(steps_per_epoch), round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Soft targets: their source, and weight beside the labels.

    net: a fixed network, as in Once-for-All. None: the step's first sub-network teaches the others, which then see no labels
    (in-place distillation of BigNAS, https://arxiv.org/abs/2003.11142; the sandwich sampler draws the largest first).
    """

    net: Network | None
    weight: float


def train(
    net: LayerModule,
    images: Images,
    sample: Sampler,
    resolutions: Sequence[int],
    schedule: Schedule,
    shared: TrainingParams,
    machine: MachineParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    teacher: Teacher | None = None,
    group: Group = ALONE,
) -> Progress:
    """Trains `net` in place; returns the finished progress: the loss curve and the time it took.

    images: their task defines the losses. sample: the sub-networks of a step. resolutions: one is drawn for every step.
    phase: its name makes phases' random numbers differ. work: a folder for checkpoints; training resumes from the one there.
    group: the processes that share the work; each calls `train` with equal arguments.

    A step's images are split into (processes * `shared.accumulate`) parts. Batch norms see one part at a time (ghost batch
    norm). Gradients are averaged over all parts, so it does not matter which process computes which.

    If a loss is not finite, or suddenly a multiple of earlier ones, training returns to the last checkpoint and goes on with
    half the learning rate. Raises ValueError after more than `shared.max_rollbacks` of these, or if the batch cannot be
    split into equal parts. SIGTERM writes a checkpoint and raises SystemExit.
    """
    if shared.batch_size % (part_count := group.size * shared.accumulate):
        raise ValueError(f"training.batch_size: {shared.batch_size} cannot be cut into {part_count} equal parts")
    stream = TrainStream(images, shared.batch_size, [seed, zlib.crc32(phase.encode())], group.rank, group.size)
    total = schedule.steps(stream.steps_per_epoch)
    state = _start(net, teacher, shared, work, group)
    saved, live = time.monotonic(), Live(phase, machine.tensorboard) if group.is_first else None
    bar = tqdm(desc=phase, unit="step", initial=state.progress.step, total=total, mininterval=1, disable=not group.is_first)
    with _termination() as terminated, bar:
        while (step := state.progress.step) < total:
            started = time.monotonic()
            rng = np.random.default_rng([*stream.seed, 0, step])
            resolution = int(rng.choice(resolutions))
            subnets = sample(rng, resolution)
            rate = schedule.rate(step, stream.steps_per_epoch) * state.progress.rate_factor
            net.zero_grad(set_to_none=True)
            loss = 0.0
            for x, labels in _parts(stream, step, resolution, shared, group):
                loss += _accumulate(net, x, labels, subnets, shared, teacher, images.task, 1 / part_count)
            loss, stop, due = group.sum([loss, bool(terminated), time.monotonic() - saved > machine.checkpoint_seconds])
            state.progress.seconds += time.monotonic() - started
            if _astray(loss, state.progress, shared.spike_factor, images.task.loss_of_guessing(len(images.classes))):
                _roll_back(loss, state, shared.max_rollbacks, phase, work, group)
                bar.n = state.progress.step
                continue
            group.average(net)
            _update(state, rate)
            _record(state.progress, loss, rate, stream.steps_per_epoch, total)
            bar.update()
            if live is not None:
                live.show(state.progress, stream.steps_per_epoch, total)
            if stop or due or state.progress.step == total:  # the last one, for a stage that fails after its training
                saved = time.monotonic()
                if group.is_first:
                    state.save(work)
            if stop:
                raise SystemExit(f"{phase}: terminated at step {step + 1} of {total}; the next run goes on from here")
    if state.average is not None:
        state.average.copy_to(net)
    return state.progress


def always(net: LayerModule) -> Sampler:
    """A stand-alone network's sampler: its own layers."""
    layers = net.active
    return lambda rng, resolution: [layers]


def _start(net: LayerModule, teacher: Teacher | None, shared: TrainingParams, work: Path, group: Group) -> TrainingState:
    """Moves the networks to the group's device. Loads the last checkpoint, or writes a first one."""
    for module in (net, None if teacher is None else teacher.net):
        if module is not None:
            module.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    state = TrainingState(net, _optimizer(net, shared), MovingAverage(net, shared.ema_decay) if shared.ema_decay else None)
    if not state.load(work) and group.is_first:
        state.save(work)  # where the first steps go back to
    group.wait()  # every process has read the checkpoint; a finished one is deleted soon
    return state


def _parts(
    stream: TrainStream, step: int, resolution: int, shared: TrainingParams, group: Group
) -> Iterator[tuple[Tensor, Tensor]]:
    """The parts of a step that this process computes: augmented images (b, 3, r, r) and labels (b,). Seeds dropout for each."""
    pixels = stream.pixels(step, resolution, shared.crops).chunk(shared.accumulate)
    labels = torch.from_numpy(stream.images.labels[stream.indices(step)]).to(group.device).chunk(shared.accumulate)
    for i in range(shared.accumulate):
        rng = np.random.default_rng([*stream.seed, 1, step, group.rank * shared.accumulate + i])
        x = augment(pixels[i], rng, shared, resolution, group.device)  # (b, 3, r, r)
        torch.manual_seed(int(rng.integers(2**63)))
        yield x, labels[i]


def _accumulate(
    net: LayerModule,
    x: Tensor,
    labels: Tensor,
    subnets: list[list[Layer]],
    shared: TrainingParams,
    teacher: Teacher | None,
    task: Task,
    share: float,
) -> float:
    """Adds `share` of the gradients of all sub-networks to those in `net`; returns that share of their mean loss."""
    soft, in_place = None, teacher is not None and teacher.net is None
    with torch.autocast(x.device.type, torch.bfloat16, enabled=shared.precision == "bfloat16"):
        if teacher is not None and teacher.net is not None and teacher.weight:
            with torch.no_grad():
                soft = task.soft_targets(_widened(teacher.net(x)))
        total = torch.zeros((), device=x.device)
        for i, layers in enumerate(subnets):
            net.active = layers
            outputs = _widened(net(x))
            loss = task.loss(outputs, labels, shared.label_smoothing)
            if soft is not None and teacher is not None:
                loss = teacher.weight * task.distillation_loss(outputs, soft) + (0 if in_place else loss)
            if in_place and i == 0:
                soft = task.soft_targets(outputs.detach())
            (share * loss).backward()
            total += loss.detach()
    return share * total.item() / len(subnets)


def _widened(outputs: Tensor) -> Tensor:
    """Losses are computed in 32 bits or more."""
    return outputs.float() if outputs.dtype == torch.bfloat16 else outputs


def _update(state: TrainingState, rate: float) -> None:
    for settings in state.optimizer.param_groups:
        settings["lr"] = rate
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.net, state.progress.step)


def _record(progress: Progress, loss: float, rate: float, steps_per_epoch: int, total: int) -> None:
    """Counts a finished step. Adds a row to the history every `HISTORY_STEPS` steps."""
    progress.step += 1
    progress.losses.append(loss)
    if len(progress.losses) == HISTORY_STEPS or progress.step == total:
        mean, epoch = sum(progress.losses) / len(progress.losses), progress.step / steps_per_epoch
        progress.history.append({"step": progress.step, "epoch": epoch, "lr": rate, "loss": mean})
        progress.losses = []


def _astray(loss: float, progress: Progress, spike_factor: float, guessing: float) -> bool:
    """Whether a loss is not finite, or more than `spike_factor` times that of the last row of the history.

    A spike must also exceed `guessing`, the loss of guessing: a single batch is easily many times a near-zero mean.
    """
    if not math.isfinite(loss) or not progress.history:
        return not math.isfinite(loss)
    return loss > max(spike_factor * progress.history[-1]["loss"], guessing)


def _roll_back(loss: float, state: TrainingState, most: int, phase: str, work: Path, group: Group) -> None:
    """Returns to the last checkpoint and lowers the learning rate."""
    now = state.progress
    if now.rollbacks == most:
        raise ValueError(f"{phase}: the loss is {loss:g} at step {now.step}, after {most} rollbacks; a smaller lr may help")
    state.load(work)  # one is written before the first step
    state.progress.rate_factor, state.progress.rollbacks = now.rate_factor * ROLLBACK_FACTOR, now.rollbacks + 1
    state.progress.seconds = now.seconds
    group.wait()  # every process has read it
    if group.is_first:
        state.save(work)
        tqdm.write(
            f"{phase}: the loss is {loss:g} at step {now.step}; back to step {state.progress.step}, "
            f"with {state.progress.rate_factor:g} of the planned learning rate"
        )


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
    fused = next(net.parameters()).device.type == "cuda"
    return torch.optim.SGD(groups, lr=0.0, momentum=shared.momentum, nesterov=shared.momentum > 0, fused=fused)
