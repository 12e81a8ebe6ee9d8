"""Checkpoints of an unfinished phase. They are written completely or not at all, and reading one runs no code from the file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from ofa_core.nn.network import LayerModule
from ofa_core.run import files
from ofa_core.training.ema import MovingAverage

NAME = "checkpoint.pt"
COLUMNS = ("step", "epoch", "lr", "loss")
"""Of the loss curve."""


@dataclass
class Progress:
    """Progress of a phase, apart from its weights. There is no random state: random numbers follow from the step number."""

    step: int = 0
    """Finished steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Rows of the loss curve, with `COLUMNS`. One row every `HISTORY_STEPS` steps, and at the end of an epoch."""
    validations: list[dict[str, float]] = field(default_factory=list)
    """Rows of measurements while training: epoch, and top-1 (0..1) on val by name."""
    losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last row of the history, where training was stopped in between."""
    rate_factor: float = 1.0
    """Factor on the learning rate. Every rollback lowers it."""
    rollbacks: int = 0
    """Number of rollbacks after diverging losses."""
    seconds: float = 0.0
    """Wall time of the steps over all runs, including lost steps."""


@dataclass
class TrainingState:
    """Everything that changes while a phase trains."""

    net: LayerModule
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    progress: Progress = field(default_factory=Progress)

    def save(self, folder: Path) -> None:
        """Writes a checkpoint. It replaces the previous one."""
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "progress": asdict(self.progress)}
        if self.average is not None:
            state["average"] = self.average.state
        with files.replacing(folder / NAME) as temporary:
            torch.save(state, temporary)

    def load(self, folder: Path) -> bool:
        """Restores the checkpoint in the folder. Returns False if there is none."""
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
