"""The training loop for the full network, every phase of progressive shrinking, and single networks.

SGD with Nesterov momentum and cosine decay, as in Once-for-All, section 3.4. A step trains the sub-networks that a sampler
draws, each at its own resolution, for an `Objective`.
"""

import math
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ofa_core.nn.network import LayerModule
from ofa_core.run.errors import InputError
from ofa_core.run.machine import MachineParams
from ofa_core.tasks.trainable import TrainableTask
from ofa_core.training.checkpoint import COLUMNS, Progress, TrainingState
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.ema import MovingAverage
from ofa_core.training.images import LabelledImages, Stream
from ofa_core.training.monitor import Live
from ofa_core.training.objective import Objective, Subnet
from ofa_core.training.params import TrainingParams

HISTORY_STEPS = 20
"""Steps averaged in one row of the history. Losses are read from the device, and checked, once a row."""
ROLLBACK_FACTOR = 0.5
"""Factor on the learning rate at each rollback."""

MakeOptimizer = Callable[[nn.Module, TrainingParams], torch.optim.Optimizer]
Sampler = Callable[[np.random.Generator], list[Subnet]]
"""The sub-networks of a step. The largest comes first."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast: epochs (fractions allowed), linear warm-up within them, a cosine from `lr` to `lr * final`."""

    epochs: float
    warmup_epochs: float
    lr: float
    final: float = 0.0

    def steps(self, steps_per_epoch: int) -> int:
        """The total number of steps: at least 1, unless `epochs` is 0."""
        return max(1, round(self.epochs * steps_per_epoch)) if self.epochs else 0

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step."""
        total, warmup = self.steps(steps_per_epoch), round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
        return self.lr * (self.final + (1 - self.final) * cosine)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is measured while a phase trains.

    epochs: between two measurements. measure: gives values by name for the network (its average, if there is one). It may
    change weights and statistics, which are restored afterwards, but must not draw from torch's global generator.
    """

    epochs: float
    measure: Callable[[LayerModule], dict[str, float]]


def sgd(net: nn.Module, shared: TrainingParams) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, as `shared` has it."""
    fused = next(net.parameters()).device.type == "cuda"
    return torch.optim.SGD(decayed(net, shared), lr=0.0, momentum=shared.momentum, nesterov=shared.momentum > 0, fused=fused)


def decayed(net: nn.Module, shared: TrainingParams) -> list[dict[str, Any]]:
    """The parameters in two groups: weights with weight decay, batch norms and biases without."""
    decay = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in net.parameters() if parameter.dim() <= 1]  # batch norms and biases
    return [{"params": decay, "weight_decay": shared.weight_decay}, {"params": rest, "weight_decay": 0.0}]


def train(
    net: LayerModule,
    images: LabelledImages,
    sample: Sampler,
    objective: Objective,
    schedule: Schedule,
    shared: TrainingParams,
    machine: MachineParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    group: Group = ALONE,
    validation: Validation | None = None,
    optimizer: MakeOptimizer = sgd,
) -> Progress:
    """Trains `net` in place; returns the finished progress: the loss curve and the time it took.

    images: their task defines the losses. sample: the sub-networks of a step. phase: its name makes phases' random numbers
    differ. work: a folder for checkpoints; training resumes from the one there.
    group: the processes that share the work, each with equal arguments. validation: by the first. optimizer: made for the net.

    A step's images are split into (processes * `shared.accumulate`) parts. Batch norms see one part at a time (ghost batch
    norm). Gradients are averaged over all parts, so it does not matter which process computes which.
    If a loss is not finite, or suddenly a multiple of earlier ones, training returns to the last checkpoint and goes on with
    half the learning rate. Raises InputError after more than `shared.max_rollbacks` of these, or if the batch cannot be
    split into equal parts. SIGTERM writes a checkpoint and raises SystemExit.
    """
    if shared.batch_size % (part_count := group.size * shared.accumulate):
        raise InputError(f"training.batch_size: {shared.batch_size} cannot be cut into {part_count} equal parts")
    stream = images.stream(shared.batch_size, [seed, zlib.crc32(phase.encode())], group.rank, group.size)
    total = schedule.steps(per_epoch := stream.steps_per_epoch)
    between = max(1, total) if validation is None else max(1, round(validation.epochs * per_epoch))
    state, guessing = _start(net, objective, shared, optimizer, work, group), images.task.loss_of_guessing(len(images.classes))
    saved, live = time.monotonic(), Live(phase, machine.tensorboard) if group.is_first else None
    losses: list[Tensor] = []  # of the steps since they were last read; they stay on the device until then
    bar = tqdm(desc=phase, unit="step", initial=state.progress.step, total=total, mininterval=1, disable=not group.is_first)
    with _termination() as terminated, bar:
        while (step := state.progress.step) < total:
            started = time.monotonic()
            subnets = sample(np.random.default_rng([*stream.seed, 0, step]))
            losses.append(_gradients(net, subnets, objective, images.task, stream, step, shared, group))
            rate = schedule.rate(step, per_epoch) * state.progress.rate_factor
            _update(state, rate, group)
            bar.update()
            row = any((step + 1) % interval == 0 for interval in (HISTORY_STEPS, per_epoch, between, total))
            # A process alone may stop after any step. Several agree at the end of a row: agreeing waits for the device.
            if row or (terminated and group.size == 1):
                due = time.monotonic() - saved > machine.checkpoint_seconds
                *found, stop, save = group.sum([*torch.stack(losses).tolist(), bool(terminated), due])
                losses = []
            state.progress.seconds += time.monotonic() - started
            if losses:
                continue
            if bad := [loss for loss in found if _astray(loss, state.progress, shared.spike_factor, guessing)]:
                _roll_back(bad[0], state, shared.max_rollbacks, phase, work, group)
                bar.n = state.progress.step
                continue
            _record(state.progress, found, rate, per_epoch, row)
            if live:
                live.show(state.progress, per_epoch, total)
            if group.is_first and validation is not None and (step + 1) % between == 0:
                _validate(state, validation, per_epoch)
            if stop or save or step + 1 == total:  # the last one, for a stage that fails after its training
                saved = _save(state, work, group)
            if stop and state.progress.step < total:
                raise SystemExit(f"{phase}: terminated at step {step + 1} of {total}; the next run goes on from here")
    if state.average is not None:
        state.average.copy_to(net)
    return state.progress


def always(net: LayerModule) -> Sampler:
    """A stand-alone network's sampler: its own layers."""
    alone = Subnet(net.active)
    return lambda rng: [alone]


def _start(
    net: LayerModule, objective: Objective, shared: TrainingParams, optimizer: MakeOptimizer, work: Path, group: Group
) -> TrainingState:
    """Moves the networks to the group's device. Loads the last checkpoint, or writes a first one."""
    for module in (net, objective.teacher):
        if isinstance(module, nn.Module):
            module.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    state = TrainingState(net, optimizer(net, shared), MovingAverage(net, shared.ema_decay) if shared.ema_decay else None)
    if not state.load(work) and group.is_first:
        state.save(work)  # where the first steps go back to
    group.wait()  # every process has read the checkpoint; a finished one is deleted soon
    return state


def _gradients(
    net: LayerModule,
    subnets: list[Subnet],
    objective: Objective,
    task: TrainableTask,
    stream: Stream,
    step: int,
    shared: TrainingParams,
    group: Group,
) -> Tensor:
    """Computes this process's share of the gradients of a step. Returns its share of the mean loss, a scalar on the device."""
    net.zero_grad(set_to_none=True)
    total, share = torch.zeros((), device=group.device), 1 / (group.size * shared.accumulate)
    for images, labels in stream.parts(step, shared, group.device, net.normalization):
        half = shared.precision == "bfloat16"
        total += objective.backward(net, subnets, images, labels, task, share, half_precision=half)
    return total


def _update(state: TrainingState, rate: float, group: Group) -> None:
    """Takes the step that all processes agree on."""
    group.average(state.net)
    for settings in state.optimizer.param_groups:
        settings["lr"] = rate
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.net, state.progress.step)
    state.progress.step += 1


def _save(state: TrainingState, work: Path, group: Group) -> float:
    """The first process writes a checkpoint. Returns the time."""
    if group.is_first:
        state.save(work)
    return time.monotonic()


def _record(progress: Progress, losses: list[float], rate: float, steps_per_epoch: int, row: bool) -> None:
    """Keeps the losses of finished steps. row: whether they complete a row of the history."""
    progress.losses += losses
    if row:
        mean, epoch = sum(progress.losses) / len(progress.losses), progress.step / steps_per_epoch
        progress.history.append(dict(zip(COLUMNS, (progress.step, epoch, rate, mean), strict=True)))
        progress.losses = []


def _validate(state: TrainingState, validation: Validation, steps_per_epoch: int) -> None:
    """Adds a measurement to the progress. The network, which is lent to `measure`, is then as it was."""
    net = state.net
    kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    if state.average is not None:
        state.average.copy_to(net)
    found = validation.measure(net)
    state.progress.validations.append({"epoch": state.progress.step / steps_per_epoch} | found)
    net.load_state_dict(kept)
    net.train()


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
        raise InputError(f"{phase}: the loss is {loss:g} at step {now.step}, after {most} rollbacks; a smaller lr may help")
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
