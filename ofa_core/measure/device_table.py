"""The latency table for the parameters of a device: measured now, or read from a file."""

from pathlib import Path
from typing import Any

from ofa_core.latency.params import DeviceParams
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.build import build_table
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.runtime.android import AndroidDevice
from ofa_core.runtime.device import Device
from ofa_core.runtime.host import HostDevice
from ofa_core.space.base import Space
from ofa_core.space.ops import HardSwish

SECTION = "build_latency_table"


def make_device(name: str, params: DeviceParams, section: str = SECTION) -> Device:
    """The device that the parameters describe, in a section. Raises InputError, naming the key, if it cannot be used."""
    seconds = params.milliseconds / 1000
    try:
        if params.android is None:
            return HostDevice(params.threads, seconds, params.cores)
        return AndroidDevice(params.android.binary, params.android.serial, params.cores, params.threads, seconds)
    except InputError as error:
        raise InputError(f"{section}.devices.{name}: {error}") from None


def obtain_table(
    name: str, params: DeviceParams, space: Space, num_classes: int, hard_swish: HardSwish, seed: int, work: Path,
    section: str = SECTION,
) -> tuple[LatencyTable, dict[str, Any]]:  # fmt: skip
    """The latency table of a device, measured or read, and a report of how well it predicts whole networks.

    section: of the device's parameters. work: folder for the values measured so far. A stopped measurement continues there.
    Raises InputError, naming the key, for a device that cannot be used. The same for a file that is missing, changed, or made
    for another data type or number of classes.
    """
    if params.source == "measure":
        return build_table(
            make_device(name, params, section),
            space,
            work,
            num_classes=num_classes,
            dtype=params.dtype,
            resolutions=params.resolutions,
            hard_swish=hard_swish,
            instances=params.instances,
            max_error=params.max_error,
            networks=params.networks,
            seed=seed,
        )
    where, path = f"{section}.devices.{name}", Path(str(params.file))
    if not path.is_file():
        raise InputError(f"{where}.file: {path}: no such file")
    if (found := files.md5(path)) != params.file_md5:
        raise InputError(f"{where}.file_md5: {params.file_md5}: the MD5 of {path} is {found}")
    table = LatencyTable.load(path)
    for key, wanted, has in (("dtype", params.dtype, table.dtype), ("num_classes", num_classes, table.num_classes)):
        if wanted != has:
            raise InputError(f"{where}.file: {path} is for {key} {has}, not {wanted}")
    return table, {"networks": 0}
