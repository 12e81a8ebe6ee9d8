"""Real latencies of the candidates of a search, timed as the networks that check a latency table."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ofa_core.choose.choosing import Found, candidates
from ofa_core.latency.params import DeviceParams
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.build import time_networks
from ofa_core.measure.device_table import make_device
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.ops import HardSwish


def time_candidates(
    found: Found, space: Space, devices: Mapping[str, DeviceParams], tables: Mapping[str, LatencyTable], work: Path
) -> dict[str, dict[Arch, float]]:
    """Milliseconds of each device's candidates, by device. One with source file is left out: there is no device to ask.

    work: folder for files and values measured so far. A stopped measurement continues there.
    Raises InputError, naming the key, for a device that cannot be used.
    """
    latencies = {}
    for name, table in tables.items():
        params, archs = devices[name], candidates(found, name)
        if params.source == "measure":
            ms = time_networks(
                make_device(name, params), space, archs, work / name, num_classes=table.num_classes, dtype=params.dtype,
                hard_swish=cast(HardSwish, table.hard_swish), instances=params.instances, max_error=params.max_error,
            )  # fmt: skip
            latencies[name] = dict(zip(archs, ms.tolist(), strict=True))
    return latencies
