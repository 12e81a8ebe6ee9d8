"""What tests of training share: a small space, a few hundred real images, short phases."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ofa_core.nn import build_supernet
from ofa_core.nn.network import SuperNetwork
from ofa_core.run.machine import MachineParams
from ofa_core.space.registry import get_space
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, Teacher, train
from ofa_core.training.params import PhaseParams, TrainingParams
from ofa_core.training.shrinking import ArchSampler, full_sampler, in_supernet

SPACE = get_space("ofa_small_k7", 0.5, (20, 24))
SHARED = TrainingParams(
    batch_size=32, momentum=0.9, weight_decay=3e-5, label_smoothing=0.1, dropout=0.1, zero_residuals=False, max_shift=0.08,
    flip=True, crop_scale=None, brightness=0.0, saturation=0.0, bn_images=64, accumulate=1, ema_decay=0.0,
    device="cpu", precision="float32", threads=1, spike_factor=5.0, max_rollbacks=2,
)  # fmt: skip
MACHINE = MachineParams(launcher="python", tensorboard=False, checkpoint_seconds=1e-6)
RARELY = replace(MACHINE, checkpoint_seconds=1000.0)
"""No checkpoint but the first and the one after a signal."""
PHASE = PhaseParams(
    init="full", kernel_sizes=(3, 7), depths=(2, 4), expand_ratios=(4, 6), sampling="random", teacher="full", subnets=2,
    epochs=1, warmup_epochs=0, lr=0.05,
)  # fmt: skip
SCHEDULE = Schedule(epochs=1, warmup_epochs=0, lr=0.1)
FULL = full_sampler(SPACE)


def fresh(seed: int = 0) -> SuperNetwork:
    """A super-network with random weights."""
    torch.manual_seed(seed)
    return build_supernet(SPACE, 10, dropout=0.1)


def state_bytes(net: torch.nn.Module) -> bytes:
    """All weights and statistics."""
    return b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())


def train_supernet(
    net: SuperNetwork,
    images: Images,
    work: Path,
    sample: ArchSampler = FULL,
    schedule: Schedule = SCHEDULE,
    shared: TrainingParams = SHARED,
    machine: MachineParams = MACHINE,
    *,
    seed: int = 0,
    teacher: Teacher | None = None,
    group: Group = ALONE,
    resolutions: Sequence[int] = SPACE.resolutions,
) -> Progress:
    """Trains a super-network of `SPACE` in place."""
    work.mkdir(exist_ok=True)
    return train(
        net, images, in_supernet(net, sample), resolutions, schedule, shared, machine,
        phase="demo", seed=seed, work=work, teacher=teacher, group=group,
    )  # fmt: skip
