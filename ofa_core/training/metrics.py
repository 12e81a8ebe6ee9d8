"""What training stages report: accuracy of the smallest and largest sub-networks on val, and the loss curve."""

from collections.abc import Mapping, Sequence
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
    """The task's score (0..1) on val of the largest named sub-network, the lowest of all, the last loss, the cost of training.

    Of classifiers: top1, lowest_top1, and subnets_top1, which lists each. loss: None where nothing was trained. Each is
    measured with its own batch norm statistics, which overwrite those in `net`: save it first.
    """
    found = evaluator.subnet_scores(net, archs)
    largest = max(archs, key=lambda name: net.space.cost(archs[name], net.num_classes).macs)
    loss = progress.history[-1]["loss"] if progress.history else None
    score = evaluator.val.task.score_name
    report = {score: found[largest], f"lowest_{score}": min(found.values()), "loss": loss}
    return report | {"split": "val", f"subnets_{score}": found, "steps": progress.step} | cost(progress.seconds, group)


def cost(seconds: float, group: Group) -> dict[str, float]:
    """Device hours of all processes: gpu_hours, or cpu_core_hours (of the threads in use). seconds: wall time."""
    if group.device.type == "cuda":
        return {"gpu_hours": seconds * group.size / 3600}
    return {"cpu_core_hours": seconds * group.size * torch.get_num_threads() / 3600}


def at_extremes(archs: Mapping[str, Arch], resolutions: tuple[int, ...]) -> dict[str, Arch]:
    """Each named sub-network at the smallest and at the largest resolution, as NAME_rPIXELS."""
    extremes = sorted({resolutions[0], resolutions[-1]})
    return {f"{name}_r{r}": replace(arch, r=r) for name, arch in archs.items() for r in extremes}


def write_history(path: Path, history: list[dict[str, float]], columns: Sequence[str]) -> None:
    """Writes rows of a progress as csv with these columns: the loss curve or the validations. No rows: the header alone."""
    files.write_bytes(path, pd.DataFrame(history, columns=list(columns)).to_csv(index=False, float_format="%.6g").encode())
