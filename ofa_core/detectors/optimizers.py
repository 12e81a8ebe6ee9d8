"""What takes the steps of a detector's training, by name."""

from ofa_core.detectors.rmsprop import rmsprop
from ofa_core.training.loop import MakeOptimizer, sgd

OPTIMIZERS: dict[str, MakeOptimizer] = {"sgd": sgd, "rmsprop": rmsprop}
