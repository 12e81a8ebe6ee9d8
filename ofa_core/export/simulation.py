"""How far the torch simulation of an integer file, fake quantisation, is from what TFLite's kernels compute.

The simulation rounds where a kernel writes to memory. Kernels also round fixed-point multipliers and the inputs of additions.
Scales are equal, so one layer differs by single steps only. Later layers pass these differences on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ofa_core.convert.tensorflow import read_model
from ofa_core.convert.tracing import SAME_RANGE, trace
from ofa_core.export.parity import LAYERED, in_steps, network_outputs
from ofa_core.nn.inputs import to_input
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.grid import grid
from ofa_core.run.errors import InputError
from ofa_core.runtime.tflite import Kernels, TFLiteModel
from ofa_core.tasks.task import Task
from ofa_core.tasks.trainable import TrainableTask

KERNELS: tuple[Kernels, ...] = ("xnnpack", "reference")


def compare_simulation(
    simulation: FakeQuantized, content: bytes, images: np.ndarray, task: TrainableTask
) -> dict[str, dict[str, float]]:
    """How far the simulation and an integer file agree on images uint8 (n, r, r, 3), by kernels; see `Task.compare_steps`."""
    expected = network_outputs(simulation, images, task)
    found: dict[str, dict[str, float]] = {}
    for kernels in KERNELS:
        model = TFLiteModel(content, kernels=kernels)
        got = task.named(model.predict(images))
        found[kernels] = task.compare_steps(in_steps(expected, model), in_steps(got, model))
    return found


def check_simulation(found: Mapping[str, Mapping[str, float]], least: float, task: Task) -> None:
    """Raises InputError, one line, if kernels and simulation give the same answer for less than a share `least` of images."""
    for kernels, agreed in found.items():
        if (share := agreed[task.agreement_name]) < least:
            raise InputError(
                f"uint8: {kernels} kernels and the simulation in torch agree on {share:.2%} of the images, "
                f"less than min_simulation_agreement: {least:g}"
            )


def drift(simulation: FakeQuantized, content: bytes, images: np.ndarray) -> dict[str, dict[str, float]]:
    """Where the reference kernels depart from the simulation, by activation, on the first images uint8 (n, r, r, 3).

    same_values: share of equal values. mean_steps, largest_steps: the difference in steps of the activation's scale.
    Activations of layers that compute in float are left out.
    """
    model = TFLiteModel(content, kernels="reference", keep_all=True)
    traced = trace(read_model(content), simulation.ops)
    tensors = {operator.point: operator.output for operator in traced if operator.kind not in SAME_RANGE}
    seen: dict[str, list[np.ndarray]] = {}
    for image in images[:LAYERED]:
        model.predict(image[None])
        expected = _steps(simulation, image)
        for point, index in tensors.items():
            got = model.steps(index)
            if point not in expected or got is None:
                continue
            seen.setdefault(point, []).append(np.abs(got.reshape(-1) - expected[point]))
    rows = {}
    for point, parts in seen.items():
        steps = np.concatenate(parts)
        largest = float(steps.max())
        rows[point] = {"same_values": float((steps == 0).mean()), "mean_steps": float(steps.mean()), "largest_steps": largest}
    return rows


@torch.no_grad()
def _steps(simulation: FakeQuantized, image: np.ndarray) -> dict[str, np.ndarray]:
    """The integers of every activation of one image minus its zero point, flat, channels last."""
    found, ranges = dict[str, np.ndarray](), simulation.ranges

    def visit(point: str, x: torch.Tensor) -> None:
        bounds = grid(*(torch.tensor(bound) for bound in ranges[point]))
        steps = (x / bounds.scale).round().clamp(-128 - bounds.zero_point, 127 - bounds.zero_point)
        found[point] = (steps.permute(0, 2, 3, 1) if steps.dim() == 4 else steps).reshape(-1).numpy().astype(int)

    simulation.eval().visitor = visit
    simulation(to_input(image[None], simulation.normalization))
    simulation.visitor = None
    return found


def with_drift(layers: list[dict[str, Any]], found: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """The rows of `layer_errors` with the results of `drift` for their activations."""
    empty = {"same_values": None, "mean_steps": None, "largest_steps": None}
    return [row | dict(found.get(row["tensor"], empty)) for row in layers]
