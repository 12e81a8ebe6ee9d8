"""Whether a measured latency table belongs to the machine that uses it."""

from ofa_core import files
from ofa_core.latency.device import differences, host_device
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.params import DeviceParams


def check_origin(name: str, params: DeviceParams, table: LatencyTable) -> None:
    """Raises ValueError when a table that should come from this machine was measured on another machine or runtime.

    DVC restores a table from its cache or a remote wherever it was measured; its latencies would be promises for that machine.
    A table with source file is taken as it is.
    """
    if params.source == "file":
        return
    other = differences(table.device, host_device(params.threads))
    if other:
        raise ValueError(
            f"{files.latency_table(name)}: measured elsewhere ({'; '.join(other)}); measure it here with "
            f"`dvc repro --force --single-item build_latency_table@{name}`"
        )
