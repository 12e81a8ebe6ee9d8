"""Checkpoints of an unfinished phase: written whole or not at all, read without running code from the file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from ofa_core import files

NAME = "checkpoint.pt"


@dataclass
class Progress:
    """Where a phase stands, besides its weights. There is no random state: a step's random numbers follow from its number."""

    step: int = 0
    """Finished steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Rows of the loss curve."""
    losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last row."""
    rate_factor: float = 1.0
    """What the learning rate is multiplied by since losses went astray."""
    rollbacks: int = 0
    """How often that happened."""


def save_checkpoint(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Writes network, optimiser and progress, in place of the checkpoint before."""
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    with files.replacing(folder / NAME) as temporary:
        torch.save(state, temporary)


def load_checkpoint(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Restores what `save_checkpoint` wrote, in place; None without a checkpoint."""
    path = folder / NAME
    if not path.exists():
        return None
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
