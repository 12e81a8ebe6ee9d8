"""Checkpoints of an unfinished phase: written whole or not at all, read without running code from the file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from ofa_core.run import files
from ofa_core.training.ema import MovingAverage

NAME = "checkpoint.pt"


@dataclass
class Progress:
    """Where a phase stands, besides its weights. There is no random state: a step's random numbers follow from its number."""

    step: int = 0
    """Finished steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Rows of the loss curve: step, epoch, lr, loss, one for every `HISTORY_STEPS` steps."""
    losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last row."""
    rate_factor: float = 1.0
    """What the learning rate is multiplied by since losses went astray."""
    rollbacks: int = 0
    """How often that happened."""
    seconds: float = 0.0
    """Wall time of the steps, over all runs; steps that were lost count, too."""


@dataclass
class TrainingState:
    """All that changes while a phase trains."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    progress: Progress = field(default_factory=Progress)

    def save(self, folder: Path) -> None:
        """Writes a checkpoint, in place of the one before."""
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "progress": asdict(self.progress)}
        if self.average is not None:
            state["average"] = self.average.state
        with files.replacing(folder / NAME) as temporary:
            torch.save(state, temporary)

    def load(self, folder: Path) -> bool:
        """Goes back to the folder's checkpoint; False where there is none."""
        path = folder / NAME
        if not path.exists():
            return False
        device = next(self.net.parameters()).device
        state = torch.load(path, map_location=device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        if self.average is not None:
            self.average.state = state["average"]
        return True
