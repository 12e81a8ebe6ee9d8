"""Picks the faster form of hard swish on this machine, for `export.hard_swish: auto`."""

from collections.abc import Sequence
from typing import Any

from ofa_core.convert.choices import HardSwishChoice
from ofa_core.convert.params import Dtype
from ofa_core.convert.timed_files import layers_file
from ofa_core.runtime.host import time_in_turns
from ofa_core.space.layers import Layer
from ofa_core.space.ops import HardSwish

FORMS: tuple[HardSwish, ...] = ("composed", "fused")


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
    found = time_in_turns({form: layers_file(layers, dtype, form) for form in FORMS}, threads)
    return min(FORMS, key=lambda form: found[form]), found
