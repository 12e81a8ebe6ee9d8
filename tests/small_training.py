"""What tests of training share: a small space, a few hundred real images, short phases."""

from dataclasses import replace
from pathlib import Path

import torch

from ofa_core.nn import build_supernet
from ofa_core.nn.network import SuperNetwork
from ofa_core.run.machine import MachineParams
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.images import Images
from ofa_core.training.loop import Sampler, Schedule, Validation, train
from ofa_core.training.objective import Objective
from ofa_core.training.params import PhaseParams, RoleParams, TrainingParams
from ofa_core.training.shrinking import full_sampler, phase_sampler

SPACE = get_space("ofa_small_k7", 0.5, (20, 24))
SHARED = TrainingParams(
    batch_size=32, momentum=0.9, weight_decay=3e-5, label_smoothing=0.1, dropout=0.1, zero_residuals=False, max_shift=0.08,
    flip=True, crop_scale=None, brightness=0.0, saturation=0.0, bn_images=64, final_lr=0.0, accumulate=1, ema_decay=0.0,
    device="cpu", precision="float32", threads=1, spike_factor=5.0, max_rollbacks=2,
)  # fmt: skip
MACHINE = MachineParams(launcher="python", tensorboard=False, checkpoint_seconds=1e-6)
RARELY = replace(MACHINE, checkpoint_seconds=1000.0)
"""No checkpoint but the first and the one after a signal."""
PHASE = PhaseParams(
    init="full", kernel_sizes=(3, 7), depths=(2, 4), expand_ratios=(4, 6),
    roles={"middle": RoleParams(subnets=2, labels=1, soft=1)}, teacher="full", epochs=1, warmup_epochs=0, lr=0.05,
)  # fmt: skip
SANDWICH = replace(
    PHASE,
    roles={
        "largest": RoleParams(subnets=1, labels=1, soft=0),
        "smallest": RoleParams(subnets=1, labels=0, soft=1),
        "middle": RoleParams(subnets=2, labels=0.5, soft=2),
    },
    teacher="largest",
)
SCHEDULE = Schedule(epochs=1, warmup_epochs=0, lr=0.1)
LABELS = Objective.alone(SHARED.label_smoothing, SHARED.dropout)


def fresh(seed: int = 0) -> SuperNetwork:
    """A super-network with random weights."""
    torch.manual_seed(seed)
    return build_supernet(SPACE, 10)


def state_bytes(net: torch.nn.Module) -> bytes:
    """All weights and statistics."""
    return b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())


def phase_of(net: SuperNetwork, phase: PhaseParams = PHASE, space: Space = SPACE) -> Sampler:
    """The sampler of a phase, which draws uniformly."""
    part = phase.part(space)
    return phase_sampler(net, part, phase, part.sample)


def train_supernet(
    net: SuperNetwork,
    images: Images,
    work: Path,
    sample: Sampler | None = None,
    schedule: Schedule = SCHEDULE,
    shared: TrainingParams = SHARED,
    machine: MachineParams = MACHINE,
    *,
    seed: int = 0,
    objective: Objective = LABELS,
    group: Group = ALONE,
    validation: Validation | None = None,
) -> Progress:
    """Trains a super-network of `SPACE` in place. sample: None trains the full network."""
    work.mkdir(exist_ok=True)
    return train(
        net, images, sample or full_sampler(net), objective, schedule, shared, machine,
        phase="demo", seed=seed, work=work, group=group, validation=validation,
    )  # fmt: skip
