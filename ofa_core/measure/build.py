"""Builds a latency table: times every distinct layer of a space, then corrects and checks the sums with whole networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa_core.convert.params import Dtype
from ofa_core.convert.timed_files import layer_file, network_file, trivial_file
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.correction import correct
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.runtime.device import Device
from ofa_core.runtime.sampling import measure
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layer_sums import distinct_layers
from ofa_core.space.ops import HardSwish

TRIVIAL = "trivial"
"""Name of the file that does almost nothing, timed along with the layers."""


def build_table(
    device: Device,
    space: Space,
    work: Path,
    *,
    num_classes: int,
    dtype: Dtype = "uint8",
    resolutions: Sequence[int] | None = None,
    hard_swish: HardSwish = "composed",
    instances: int = 3,
    max_error: float = 0.02,
    networks: int = 20,
    seed: int = 0,
) -> tuple[LatencyTable, dict[str, Any]]:
    """A latency table of the space on the device, and a report of how well it predicts whole networks.

    work: a folder for files and measured values. With the same arguments and device, a stopped build continues there.
    resolutions: input sizes in pixels. None: those of the space. instances, max_error: as in `sampling.measure`.
    networks: random whole networks to time; half fit the correction, half check it. At least 4, or 0 for no correction.

    The time of a layer is that of its one-layer file minus the cost of calling the interpreter. A network pays this cost once,
    so it is the table's overhead before the correction. The report has the `accuracy` before and after the correction.
    Raises InputError for a resolution that is not a multiple of 4, for too few networks, and as the device does.
    """
    if networks and networks < 4:
        raise InputError(f"networks: {networks} is neither 0 nor at least 4")
    sizes = tuple(resolutions or space.resolutions)
    makers = {TRIVIAL: partial(trivial_file, dtype)}
    makers |= {layer.key: partial(layer_file, layer, dtype, hard_swish) for layer in distinct_layers(space, sizes, num_classes)}
    models = _write(work / "layers", makers, "layer files")
    timings = measure(device, models, instances, max_error, work / "layers.jsonl", "timing layers")
    call = timings.pop(TRIVIAL).median_ms
    less_call = {key: replace(timing, median_ms=round(max(timing.median_ms - call, 0.0), 6)) for key, timing in timings.items()}
    info = device.info() | {"date": datetime.now(UTC).date().isoformat()}
    table = LatencyTable(info, dtype, sizes, num_classes, hard_swish, overhead_ms=call, layers=less_call)
    if not networks:
        return table, {"networks": 0}
    archs = random_archs(space, sizes, networks, seed)
    measured_ms = time_networks(
        device, space, archs, work, num_classes=num_classes, dtype=dtype, hard_swish=hard_swish, instances=instances,
        max_error=max_error,
    )  # fmt: skip
    return correct(table, space, archs, measured_ms)


def time_networks(
    device: Device,
    space: Space,
    archs: Sequence[Arch],
    work: Path,
    *,
    num_classes: int,
    dtype: Dtype = "uint8",
    hard_swish: HardSwish = "composed",
    instances: int = 3,
    max_error: float = 0.02,
) -> np.ndarray:
    """Latencies (n,) in milliseconds of whole networks with random weights. Arguments as in `build_table`."""
    makers = {f"{i:04d}": partial(network_file, space, arch, num_classes, dtype, hard_swish) for i, arch in enumerate(archs)}
    models = _write(work / "networks", makers, "network files")
    measured = measure(device, models, instances, max_error, work / "networks.jsonl", "timing networks")
    return np.array([measured[name].median_ms for name in makers])


def _write(folder: Path, makers: Mapping[str, Callable[[], bytes]], label: str) -> dict[str, Path]:
    """Writes the files that do not exist yet. Returns their paths by name."""
    paths = {name: folder / f"{name.replace(':', '_')}.tflite" for name in makers}
    for name, path in tqdm(paths.items(), desc=label, unit="file", disable=None):
        if not path.exists():
            files.write_bytes(path, makers[name]())
    return paths


def random_archs(space: Space, resolutions: Sequence[int], count: int, seed: int) -> list[Arch]:
    """Random architectures of all sizes, at the given resolutions in turn.

    Genes drawn uniformly and independently give only medium-sized networks. A correction fitted to these misses the small ones
    that a search asks for. So each network has a tendency, spread evenly from small to large, and all its genes follow it.
    Over all networks, each choice of a gene is still equally likely. Two successive networks share tendency and resolution:
    `correct` fits to one of them and checks with the other.
    """
    rng = np.random.default_rng(seed)
    pairs = (count + 1) // 2
    tendency = np.repeat((rng.permutation(pairs) + rng.random(pairs)) / pairs, 2)[:count]
    last_choice = np.array([len(gene.choices) - 1 for gene in space.genes])
    codes = rng.binomial(last_choice, tendency[:, None])  # uniform over the choices, because the tendency is uniform over 0..1
    return space.decode(codes, np.resize(np.repeat(resolutions, 2), count))
