"""Whether a measured latency table belongs to the machine that uses it."""

import sys

from ofa_core.latency.params import DeviceParams
from ofa_core.latency.table import LatencyTable
from ofa_core.run import paths
from ofa_core.runtime.device_record import differences, host_device, runtime_changes


def check_origin(name: str, params: DeviceParams, table: LatencyTable) -> None:
    """Raises ValueError when a table that should come from this machine was measured on another one.

    DVC restores a table from its cache or a remote wherever it was measured; its latencies would be promises for that machine.
    Another runtime, or another version of it, is only a warning on stderr: its latencies are near, but not the same.
    A table with source file, or of a phone, is taken as it is.
    """
    if params.source == "file" or params.kind != "host":
        return
    here = host_device(params.threads)
    again = f"`dvc repro --force --single-item build_latency_table@{name}`"
    if other := differences(table.device, here):
        raise ValueError(f"{paths.latency_table(name)}: measured elsewhere ({'; '.join(other)}); measure it here with {again}")
    if other := runtime_changes(table.device, here):
        changed = "; ".join(other)
        print(
            f"warning: {paths.latency_table(name)}: measured with another runtime ({changed}); renew it with {again}",
            file=sys.stderr,
        )
