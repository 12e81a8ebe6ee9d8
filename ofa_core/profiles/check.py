"""Checks a whole parameter file: every section, unknown ones included, and what sections say of each other."""

from pathlib import Path
from typing import Any

from ofa_core.accuracies.params import CollectParams
from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.datasets.params import PrepareParams
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.export.params import ExportParams
from ofa_core.latency.params import LatencyParams
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.run.machine import MachineParams
from ofa_core.run.params import ParamsFile
from ofa_core.search.params import SearchParams
from ofa_core.space.params import SpaceParams
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.params import ShrinkParams, TrainingParams, TrainSupernetParams

SECTIONS: dict[str, type] = {
    "seed": int,
    "space": SpaceParams,
    "training": TrainingParams,
    "machine": MachineParams,
    "prepare": PrepareParams,
    "train_supernet": TrainSupernetParams,
    "shrink": ShrinkParams,
    "collect_accuracies": CollectParams,
    "fit_predictor": FitPredictorParams,
    "build_latency_table": LatencyParams,
    "search": SearchParams,
    "specialize": SpecializeParams,
    "export": ExportParams,
    "train_baselines": TrainBaselinesParams,
    "evaluate": EvaluateParams,
}
"""Every section of a parameter file and its type."""


def check(path: str | Path) -> None:
    """Raises ValueError, one line that names file, key, value and what is allowed, for the first thing that is wrong."""
    params = ParamsFile(path)
    unknown = [name for name in params.content if name not in SECTIONS]
    if unknown:
        raise ValueError(f"{path}: {unknown[0]}: unknown section; there are {', '.join(SECTIONS)}")
    sections: dict[str, Any] = {name: params.read(name, kind) for name, kind in SECTIONS.items()}
    space = sections["space"].build()
    asked = [(f"shrink.phases.{name}", phase.choices) for name, phase in sections["shrink"].phases.items()]
    asked += [(f"train_baselines.subnets.{name}", subnet.arch) for name, subnet in sections["train_baselines"].subnets.items()]
    for name, of_space in asked:
        try:
            of_space(space)
        except ValueError as error:
            raise ValueError(f"{path}: {name}.{error}") from None
    latency, search = sections["build_latency_table"], sections["search"]
    if search.objective == "int8_top1" and not sections["collect_accuracies"].int8_architectures:
        raise ValueError(
            f"{path}: search.objective: int8_top1: nothing to learn it from, collect_accuracies.int8_architectures is 0"
        )
    named = {"search.device": search.device}
    named |= {f"search.targets.{name}.device": device for name, device in search.devices.items()}
    for key, device in named.items():
        if device not in latency.devices:
            raise ValueError(f"{path}: {key}: {device}: allowed are {', '.join(latency.devices)}")
