"""Which form of hard swish is faster on this machine: the choice of `export.hard_swish: auto`."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from ofa_core.export.params import HardSwish, HardSwishChoice
from ofa_core.layers import Layer
from ofa_core.measure.files import Dtype, layers_file
from ofa_core.measure.host import time_model

FORMS: tuple[HardSwish, ...] = ("composed", "fused")
ROUNDS = 5


def choose_hard_swish(
    choice: HardSwishChoice, layers: Sequence[Layer], dtype: Dtype = "uint8", threads: int = 1
) -> tuple[HardSwish, dict[str, Any]]:
    """The form to convert a network with, and for auto the milliseconds of both.

    Auto times the whole network, with random weights, in both forms in turn. A network without hard swish gets composed.
    """
    if choice != "auto":
        return choice, {}
    if all(layer.act != "h_swish" for layer in layers):
        return "composed", {}
    contents = {form: layers_file(layers, dtype, form) for form in FORMS}
    rounds = [{form: time_model(contents[form], threads, 1, 0.1).median_ms for form in FORMS} for _ in range(ROUNDS)]
    found: dict[str, float] = {form: median(times[form] for times in rounds) for form in FORMS}
    return min(FORMS, key=lambda form: found[form]), found
