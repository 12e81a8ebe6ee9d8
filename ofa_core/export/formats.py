"""All files of one network, made and compared before any is written, and the description they share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ofa_core.convert.integer import calibrate, quantize
from ofa_core.convert.network import TFNetwork, tf_network
from ofa_core.convert.onnx import export_onnx
from ofa_core.convert.operators import check_operators
from ofa_core.convert.params import INTEGER, ConversionParams
from ofa_core.convert.saved_model import frozen_graph, saved_model
from ofa_core.convert.tflite import convert_dynamic, convert_float, convert_float16
from ofa_core.export.extra_layers import BACKGROUND, with_background
from ofa_core.export.parity import check_difference, check_kernels, compare, compare_kernels, layer_errors
from ofa_core.export.scales import check_scales, compare_scales
from ofa_core.export.simulation import check_simulation, compare_simulation, drift, with_drift
from ofa_core.nn.network import Network
from ofa_core.quantization.fake import FakeQuantized, Ranges, of_form
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.ops import HardSwish
from ofa_core.tasks.trainable import TrainableTask

LAYOUTS = {"onnx": "NCHW", "torch": "NCHW"}
"""Axes of the image by format; NHWC in all others."""

Row = dict[str, Any]
"""A row of a report."""


class Exported(NamedTuple):
    """What was made of a network.

    content: the files by format. classes: their names, in the order of the outputs. description: what a user of the files needs
    to know. float_file: the float32 TFLite file, even if it was not asked for. report: how far formats and kernels agree.
    layers: the errors of layers in the integer file. scales: its scales next to the network's. Both empty without such a file.
    """

    content: dict[str, bytes]
    float_file: bytes
    classes: tuple[str, ...]
    description: dict[str, Any]
    report: dict[str, Any]
    layers: list[Row]
    scales: list[Row]


def export_network(
    network: Network,
    classes: Sequence[str],
    params: ConversionParams,
    hard_swish: HardSwish,
    calibration: np.ndarray,
    images: np.ndarray,
    weights: bytes | None = None,
    ranges: Ranges | None = None,
    *,
    task: TrainableTask,
) -> Exported:
    """Makes the files of `params.formats` in memory and checks that they agree with the network.

    network: stand-alone, in eval mode. classes: names of its classes. hard_swish: the form chosen for `params.hard_swish`.
    calibration: uint8 (n, r, r, 3), for integer files. images: other images of that form, to compare formats on.
    weights: the content of the torch format. ranges: those of quantisation-aware training. Without them, ranges are observed
    on the calibration images. task: decides how far files agree.

    Raises InputError, one line: weights that are not finite, images of another shape or none, an operator that does not belong
    there, a scale of an integer file that is not the network's, a difference or a disagreement beyond the bounds in `params`.
    """
    resolution, count = network.active[0].resolution, task.class_count([layer.out for layer in network.active])
    if len(classes) != count:
        raise InputError(f"labels: {len(classes)} names, the network has {count} classes")
    if params.background:
        network, classes = with_background(network), (BACKGROUND, *classes)
    whole = tf_network(network, hard_swish=hard_swish)
    content, float_file = _convert(network, whole, params), convert_float(whole)
    if "float" in params.formats:
        content["float"] = float_file
    if "torch" in params.formats:
        if weights is None:
            raise InputError("formats: torch: there is no weights file of this network")
        content["torch"] = weights
    simulation = None
    if wanted := [name for name in INTEGER if name in params.formats]:
        ranges = calibrate(network, calibration, params.calibration, hard_swish) if ranges is None else ranges
        simulation = FakeQuantized(
            network, of_form(ranges, hard_swish), hard_swish=hard_swish, keep_float=params.keep_float
        ).eval()
        content |= {name: quantize(float_file, whole.ops, simulation.ranges, name, params.keep_float) for name in wanted}
    report, layers, scales = _check(network, whole, content, params, images, task), list[Row](), list[Row]()
    if simulation is not None:
        found, layers, scales = _check_integer(simulation, float_file, content[wanted[0]], params, images, task)
        report |= found
    description = {
        "formats": sorted(content),
        "labels": list(classes),
        "background": params.background,
        "hard_swish": hard_swish,
        "keep_float": list(params.keep_float),
        "input": _input(content, resolution),
        "preprocessing": {
            "resize": "bilinear",
            "resize_to": [resolution, resolution],
            "crop": None,
            **network.normalization.scalars,
        },
        "layout": {name: LAYOUTS.get(name, "NHWC") for name in content},
    }
    return Exported(content, float_file, tuple(classes), description, report, layers, scales)


def write(folder: Path, exported: Exported, description: Mapping[str, Any]) -> None:
    """Makes `folder` hold the exported files (`paths.exported_name`), labels and description, or leaves it unchanged."""
    with files.replacing_folder(folder) as new:
        for name, data in exported.content.items():
            (new / paths.exported_name(name)).write_bytes(data)
        (new / paths.exported_name("labels")).write_text("".join(f"{name}\n" for name in exported.classes))
        files.write_json(new / paths.exported_name("description"), description)


def _convert(network: Network, whole: TFNetwork, params: ConversionParams) -> dict[str, bytes]:
    makers: dict[str, Callable[[], bytes]] = {
        "dynamic": lambda: convert_dynamic(whole),
        "float16": lambda: convert_float16(whole),
        "saved_model": lambda: saved_model(whole),
        "frozen": lambda: frozen_graph(whole),
        "onnx": lambda: export_onnx(network, network.active[0].resolution),
    }
    return {name: make() for name, make in makers.items() if name in params.formats}


def _check(
    network: Network,
    whole: TFNetwork,
    content: Mapping[str, bytes],
    params: ConversionParams,
    images: np.ndarray,
    task: TrainableTask,
) -> dict[str, Any]:
    """The gates: operators, differences from torch, kernels. Returns the measurements."""
    operators = {}
    for name, conversions, keep_float in (("float", 0, ()), ("int8", 0, params.keep_float), ("uint8", 2, params.keep_float)):
        if name in content:
            operators[name] = check_operators(name, content[name], whole.ops, conversions, keep_float)
    formats = compare(network, whole, content, images, task)
    check_difference(formats, params.max_float_difference)
    report: dict[str, Any] = {"images": len(images), "operators": operators, "to_torch": formats}
    if "uint8" in content:
        report["kernels"] = compare_kernels(content["uint8"], images, task)
        check_kernels(report["kernels"], params.min_kernel_agreement, task)
    return report


def _check_integer(
    simulation: FakeQuantized,
    float_file: bytes,
    content: bytes,
    params: ConversionParams,
    images: np.ndarray,
    task: TrainableTask,
) -> tuple[Row, list[Row], list[Row]]:
    """The gates of an integer file: scales, and the simulation in torch. Returns the measurements, also by layer and scale."""
    scales = compare_scales(content, simulation, params.keep_float)
    report: Row = {"scales": check_scales(scales), "simulation": compare_simulation(simulation, content, images, task)}
    check_simulation(report["simulation"], params.min_simulation_agreement, task)
    layers = layer_errors(float_file, content, simulation.normalization, images, simulation.ops)
    return report, with_drift(layers, drift(simulation, content, images)), scales


def _input(content: Mapping[str, bytes], resolution: int) -> dict[str, Any]:
    """The input of the integer file, or else of the float files."""
    found: dict[str, Any] = {
        "size": [resolution, resolution],
        "channels": 3,
        "dtype": "float32",
        "scale": None,
        "zero_point": None,
    }
    for name in INTEGER:
        if name in content:
            scale, zero_point = TFLiteModel(content[name]).input_details["quantization"]
            return found | {"dtype": name, "scale": float(scale), "zero_point": int(zero_point)}
    return found
