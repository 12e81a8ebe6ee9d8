"""Checks a whole parameter file: every section, unknown sections, and references between sections."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ofa_core.pretrained.names import check_start
from ofa_core.profiles.sections import SECTIONS
from ofa_core.run import paths
from ofa_core.run.errors import InputError
from ofa_core.run.params import ParamsFile
from ofa_core.space.base import Space


def check(path: str | Path) -> None:
    """Raises InputError, one line that names file, key, value and what is allowed, for the first mistake in a complete file."""
    check_params(ParamsFile(path))


def check_params(params: ParamsFile) -> None:
    """Like `check`, for a file that has been read."""
    path = params.path
    unknown = [name for name in params.content if name not in SECTIONS]
    if unknown:
        raise InputError(f"{path}: {unknown[0]}: unknown section; there are {', '.join(SECTIONS)}")
    sections: dict[str, Any] = {name: params.read(name, kind) for name, kind in SECTIONS.items()}
    space = sections["space"].build()
    init = sections["train_supernet"].init
    asked: list[tuple[str, Callable[[Space], object]]] = []
    if init is not None:
        asked.append(("train_supernet", lambda space: check_start(init, space)))
    asked += [(f"shrink.phases.{name}", phase.part) for name, phase in sections["shrink"].phases.items()]
    asked += [(f"train_baselines.subnets.{name}", subnet.arch) for name, subnet in sections["train_baselines"].subnets.items()]
    for name, of_space in asked:
        try:
            of_space(space)
        except InputError as error:
            raise InputError(f"{path}: {name}.{error}") from None
    latency, search, shrink = sections["build_latency_table"], sections["search"], sections["shrink"]
    tables = [str(paths.latency_table(device)) for device in latency.devices]
    drawn = any(phase.draw == "latency" for phase in shrink.phases.values())
    if drawn and shrink.latency_table not in tables and not Path(shrink.latency_table).is_file():
        raise InputError(f"{path}: shrink.latency_table: {shrink.latency_table}: no such file, nor one of {', '.join(tables)}")
    if search.objective == "int8_top1" and not sections["collect_accuracies"].int8_architectures:
        raise InputError(
            f"{path}: search.objective: int8_top1: nothing to learn it from, collect_accuracies.int8_architectures is 0"
        )
    named = {"search.device": search.device}
    named |= {f"search.targets.{name}.device": device for name, device in search.devices.items()}
    for key, device in named.items():
        if device not in latency.devices:
            raise InputError(f"{path}: {key}: {device}: allowed are {', '.join(latency.devices)}")
    _check_detectors(path, sections)


def _check_detectors(path: Path, sections: Mapping[str, Any]) -> None:
    """Raises InputError for detectors without targets or the reverse, and for references that lead nowhere."""
    wanted, search = bool(sections["detectors"]), sections["search_detector"]
    if wanted != bool(search.targets):
        needed = "at least one target" if wanted else "no target, for detectors is empty"
        raise InputError(f"{path}: search_detector.targets: {', '.join(search.targets) or 'empty'}: there must be {needed}")
    if not wanted:
        return
    devices = sections["build_detector_table"].devices
    if search.device not in devices:
        raise InputError(f"{path}: search_detector.device: {search.device}: allowed are {', '.join(devices) or 'none'}")
    try:
        sections["detector"].design(sections["space"])
    except InputError as error:
        raise InputError(f"{path}: detector.{error}") from None
    init = sections["train_detector"].init
    made = [str(paths.STARTING), *(str(paths.supernet(phase)) for phase in ("full", *sections["shrink"].phases))]
    if init not in made and not Path(init).is_file():
        raise InputError(f"{path}: train_detector.init: {init}: no such file, nor one of {', '.join(made)}")
