"""What training stages report: validation accuracy of the smallest and largest sub-networks, and the loss curve."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ofa_core.nn.network import SuperNetwork
from ofa_core.run import files
from ofa_core.space.arch import Arch
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import Group
from ofa_core.training.evaluation import Evaluator


def supernet_metrics(
    net: SuperNetwork, evaluator: Evaluator, archs: Mapping[str, Arch], progress: Progress, group: Group
) -> dict[str, Any]:
    """Validation top-1 (0..1) of named sub-networks with their own statistics, the last loss, and what the training cost.

    Changes the statistics in `net`: save it first.
    """
    top1 = {name: evaluator.subnet_score(net, arch) for name, arch in archs.items()}
    last = progress.history[-1]
    return {"split": "val", "top1": top1, "loss": last["loss"], "steps": last["step"]} | cost(progress.seconds, group)


def cost(seconds: float, group: Group) -> dict[str, float]:
    """Device hours of all processes: gpu_hours, or cpu_core_hours (of the threads in use). seconds: wall time."""
    if group.device.type == "cuda":
        return {"gpu_hours": seconds * group.size / 3600}
    return {"cpu_core_hours": seconds * group.size * torch.get_num_threads() / 3600}


def at_extremes(archs: Mapping[str, Arch], resolutions: tuple[int, ...]) -> dict[str, Arch]:
    """Each named sub-network at the smallest and at the largest resolution, as NAME_rPIXELS."""
    extremes = sorted({resolutions[0], resolutions[-1]})
    return {f"{name}_r{r}": replace(arch, r=r) for name, arch in archs.items() for r in extremes}


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Writes the loss curve as csv: step, epoch, lr, loss."""
    files.write_bytes(path, pd.DataFrame(history).to_csv(index=False, float_format="%.6g").encode())
