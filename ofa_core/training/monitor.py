"""Live output of a training phase: one line per epoch and, on request, TensorBoard curves."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from ofa_core.run import paths
from ofa_core.run.errors import InputError
from ofa_core.training.checkpoint import Progress

TENSORBOARD = paths.WORK / "tensorboard"


class Live:
    """Shows the rows of a phase's history as they come. tensorboard: whether to write event files too.

    Raises InputError when TensorBoard is requested but not installed.
    """

    def __init__(self, phase: str, tensorboard: bool, folder: Path = TENSORBOARD) -> None:
        self.phase, self.writer = phase, _writer(folder / phase) if tensorboard else None

    def show(self, progress: Progress, steps_per_epoch: int, total: int) -> None:
        """Call after every row of the history."""
        if self.writer is not None and not progress.losses:
            row = progress.history[-1]
            for name in ("loss", "lr"):
                self.writer.add_scalar(name, row[name], int(row["step"]))
        epoch, within = divmod(progress.step, steps_per_epoch)
        if not within or progress.step == total:
            first = progress.step - (within or steps_per_epoch)
            losses = [row["loss"] for row in progress.history if row["step"] > first]
            losses = losses or progress.losses
            lasted = f"{progress.step / steps_per_epoch:.4g} epochs" if within else f"epoch {epoch}"
            tqdm.write(f"{self.phase}: {lasted}, step {progress.step} of {total}, loss {sum(losses) / len(losses):.4f}")


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("machine.tensorboard: true: TensorBoard is not installed here: pip install tensorboard") from None
    return SummaryWriter(folder)
