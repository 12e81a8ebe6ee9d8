"""Section `machine` of the parameters: how stages run on this machine, which changes no result.

No stage tracks it, so it can be edited at any time, even while a stage runs.
"""

from typing import Annotated

from pydantic import Field

from ofa_core.run.params import section


@section
class MachineParams:
    """How stages run on this machine. Nothing here changes a result, so no edit of it runs a stage again."""

    launcher: Annotated[str, Field(pattern="^(python|torchrun( .*)?)$")]
    """The command that starts the stages that train: `python`, or `torchrun` with its options for several GPUs or machines."""
    tensorboard: bool
    """Whether to write loss curves for TensorBoard to .work/tensorboard. TensorBoard itself is a separate installation."""
    checkpoint_seconds: Annotated[float, Field(gt=0)]
    """Seconds between two checkpoints of a training phase. A killed phase loses at most this much work."""
