"""Every section of a parameter file, and the mappings whose keys are names that the user chooses."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, get_origin, get_type_hints

from pydantic import Field

from ofa_core.accuracies.params import CollectParams
from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.choose.params import ChooseParams
from ofa_core.datasets.detection_params import PrepareDetectionParams
from ofa_core.datasets.params import PrepareParams
from ofa_core.detector_evaluation.params import EvaluateDetectorParams
from ofa_core.detector_export.params import ExportDetectorParams
from ofa_core.detector_search.params import SearchDetectorParams
from ofa_core.detector_tuning.params import DistillDetectorParams, PseudoLabelParams, QuantizeDetectorParams
from ofa_core.detectors.params import CollectDetectorParams, DetectorParams, TrainDetectorParams
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.export.params import ExportParams
from ofa_core.latency.params import DetectorLatencyParams, LatencyParams
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.run.machine import MachineParams
from ofa_core.search.params import SearchParams
from ofa_core.space.params import SpaceParams
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.params import ShrinkParams, TrainingParams, TrainSupernetParams

Detectors = Annotated[
    list[Literal["elastic"]],
    Field(max_length=1, description="[elastic]: an elastic detector is trained and searched, too. []: classification alone."),
]
Seed = Annotated[int, Field(ge=0, description="Seed of all random numbers: splits, weights, sampling, search.")]

SECTIONS: dict[str, Any] = {
    "seed": Seed,
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
    "choose": ChooseParams,
    "specialize": SpecializeParams,
    "export": ExportParams,
    "train_baselines": TrainBaselinesParams,
    "evaluate": EvaluateParams,
    "detectors": Detectors,
    "detector": DetectorParams,
    "prepare_detection": PrepareDetectionParams,
    "train_detector": TrainDetectorParams,
    "build_detector_table": DetectorLatencyParams,
    "collect_detector": CollectDetectorParams,
    "search_detector": SearchDetectorParams,
    "pseudo_label": PseudoLabelParams,
    "distill_detector": DistillDetectorParams,
    "quantize_detector": QuantizeDetectorParams,
    "export_detector": ExportDetectorParams,
    "evaluate_detector": EvaluateDetectorParams,
}
"""Every section of a parameter file and its type."""


def entries() -> dict[str, type]:
    """The mappings whose keys are names that the user chooses, such as `shrink.phases`, and the type of their entries."""
    return {name: kind for section, of in SECTIONS.items() if is_dataclass(of) for name, kind in _entries(of, section)}


def _entries(kind: Any, name: str) -> Iterator[tuple[str, type]]:
    for field, annotation in get_type_hints(kind).items():
        if get_origin(annotation) is dict:
            yield f"{name}.{field}", annotation.__args__[1]
        elif is_dataclass(annotation):
            yield from _entries(annotation, f"{name}.{field}")
