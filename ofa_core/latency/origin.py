"""Checks that a measured latency table comes from the machine that uses it."""

import sys

from ofa_core.latency.params import DeviceParams
from ofa_core.latency.table import LatencyTable
from ofa_core.run import paths
from ofa_core.run.errors import InputError
from ofa_core.runtime.device_record import differences, host_device, runtime_changes


def check_origin(name: str, params: DeviceParams, table: LatencyTable) -> None:
    """Raises InputError if a table that should come from this machine was measured on another one.

    DVC may restore a table from its cache or a remote that was measured elsewhere. Its latencies would not hold here.
    Another runtime, or another version of it, only gives a warning on stderr: latencies are similar, but not the same.
    A table with source file, or of a phone, is not checked.
    """
    if params.source == "file" or params.kind != "host":
        return
    here = host_device(params.threads)
    again = f"`dvc repro --force --single-item build_latency_table@{name}`"
    if other := differences(table.device, here):
        raise InputError(f"{paths.latency_table(name)}: measured elsewhere ({'; '.join(other)}); measure it here with {again}")
    if other := runtime_changes(table.device, here):
        changed = "; ".join(other)
        print(
            f"warning: {paths.latency_table(name)}: measured with another runtime ({changed}); measure it again with {again}",
            file=sys.stderr,
        )
