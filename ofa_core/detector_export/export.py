"""A detector's files: float and full-integer TFLite with the operator at their end, checked before it is appended."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.onnx import export_onnx
from ofa_core.convert.operators import check_operators
from ofa_core.convert.tflite import convert_float
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detector_export.operator import append_postprocess
from ofa_core.detector_export.params import ExportDetectorParams
from ofa_core.images.boxes import BoxSplit
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.inputs import Normalization, to_input
from ofa_core.nn.network import Network
from ofa_core.nn.uniform_input import with_uniform_input
from ofa_core.quantization.fake import Ranges, of_form
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.runtime.detector import TFLiteDetector
from ofa_core.runtime.tflite import make_interpreter
from ofa_core.space.detector import BOXES, CLASSES
from ofa_core.space.ops import HardSwish
from ofa_core.tasks.detection import Detection

NETWORK = "network.tflite"
"""The uint8 file without the operator, which is not released: evaluation times it, and tries other operators on it."""
COMPARED = 20
"""Val images on which the float file is compared with torch."""
TASK = Detection()


class ExportedDetector(NamedTuple):
    """What was made of a detector.

    content: the files by kind: uint8, float, and onnx, without the operator. network: the uint8 file before the operator was
    appended. description: what a user of the files needs to know. report: what was measured on val.
    """

    content: dict[str, bytes]
    network: bytes
    description: dict[str, Any]
    report: dict[str, Any]


def export_detector(
    network: Network,
    anchors: np.ndarray,
    params: ExportDetectorParams,
    hard_swish: HardSwish,
    calibration: np.ndarray,
    val: BoxSplit,
    trained: Ranges | None = None,
) -> ExportedDetector:
    """Makes a detector's files in memory, and checks them.

    network: stand-alone, in eval mode. anchors: float32 (A, 4) y, x, h, w. calibration: uint8 (n, r, r, 3).
    val: labelled images, all of them. trained: ranges of quantisation-aware training. Without them, ranges are observed on the
    calibration images.

    Raises InputError, one line: an operator that does not belong there, a float file that differs from torch by more than
    `max_float_difference`.
    """
    network = with_uniform_input(network)
    network.outputs = (BOXES, CLASSES)
    resolution, classes = network.active[0].resolution, val.classes
    images = to_rgb(resize(val.images, resolution))
    whole = tf_network(network, hard_swish=hard_swish)
    as_float = convert_float(whole)
    observed = calibrate(network, calibration, params.calibration, hard_swish) if trained is None else trained
    ranges = of_form(observed, hard_swish)
    as_uint8 = convert_integer(network, ranges, hard_swish)
    operators = {"float": check_operators("float", as_float, whole.ops)}
    operators["uint8"] = check_operators("uint8", as_uint8, whole.ops, conversions=3)  # one a end, one at the input
    difference = float_difference(network, as_float, images[:COMPARED])
    if difference > params.max_float_difference:
        raise InputError(
            f"float: differs from torch by {difference:.2g}, max_float_difference is {params.max_float_difference:g}"
        )
    raw = export_onnx(network, resolution)
    settings = params.settings(len(classes))
    content = {kind: append_postprocess(file, anchors, settings) for kind, file in (("float", as_float), ("uint8", as_uint8))}
    content["onnx"] = raw
    scores = {kind: map_of(file, images, val, network.normalization) for kind, file in content.items() if kind != "onnx"}
    drop = scores["float"] - scores["uint8"]
    report = {"map": scores["uint8"], "float_map": scores["float"], "int8_drop": drop, "split": "val", "operators": operators}
    report |= {"float_difference": difference, "bytes": {kind: len(file) for kind, file in content.items()}}
    return ExportedDetector(content, as_uint8, description(network, content["uint8"], classes, settings), report)


def check_drop(report: Mapping[str, Any], most: float) -> None:
    """Raises InputError, one line, if the integer file of a report loses more than `most` of the average precision on val."""
    if report["int8_drop"] > most:
        raise InputError(
            f"uint8: map on val falls from {report['float_map']:.2%} to {report['map']:.2%} by quantisation, "
            f"more than max_int8_drop: {most:g}"
        )


def write(folder: Path, exported: ExportedDetector, about: dict[str, Any], weights: Path) -> None:
    """Writes files, labels, weights and description into a folder. about: what else the description says."""
    shutil.copyfile(weights, folder / paths.exported_name("torch"))
    for kind, content in exported.content.items():
        (folder / paths.exported_name(kind)).write_bytes(content)
    (folder / NETWORK).write_bytes(exported.network)
    (folder / paths.exported_name("labels")).write_text("".join(f"{label}\n" for label in exported.description["labels"]))
    files.write_json(folder / paths.exported_name("description"), exported.description | about)


def map_of(content: bytes, images: np.ndarray, labelled: BoxSplit, normalization: Normalization) -> float:
    """Average precision (0..1) of a finished file on images uint8 (n, r, r, 3), those of a labelled split.

    normalization: of a float file's input.
    """
    answers = TASK.answers(TASK.named(*TFLiteDetector(content, **normalization.scalars).predict(images)))
    return float(TASK.score(answers, labelled)[TASK.score_name] or 0.0)


def float_difference(network: Network, content: bytes, images: np.ndarray) -> float:
    """Largest difference of an encoding or a score between a float file, before the operator, and torch."""
    with torch.no_grad():
        expected = {end: values.numpy() for end, values in network.eval()(to_input(images, network.normalization)).items()}
    interpreter = make_interpreter(content)
    runner, largest = interpreter.get_signature_runner(), 0.0
    mean, std = (network.normalization.scalars[key] for key in ("mean", "std"))
    for i, image in enumerate(images):
        found = runner(image=((image[None].astype(np.float32) - np.float32(mean)) / np.float32(std)))
        largest = max(largest, *(float(np.abs(found[end][0] - expected[end][i]).max()) for end in (BOXES, CLASSES)))
    return largest


def description(network: Network, content: bytes, classes: tuple[str, ...], settings: PostprocessSettings) -> dict[str, Any]:
    """What a user of the files needs to know."""
    resolution = network.active[0].resolution
    [details] = make_interpreter(content).get_input_details()
    scale, zero_point = details["quantization"]
    side = [resolution, resolution]
    return {
        "formats": ["float", "onnx", "torch", "uint8"],
        "labels": list(classes),
        "input": {"size": side, "channels": 3, "dtype": "uint8", "scale": float(scale), "zero_point": int(zero_point)},
        "preprocessing": {"resize": "bilinear", "resize_to": side, "crop": None, **network.normalization.scalars},
        "postprocess": {
            "score_threshold": settings.score_threshold,
            "iou_threshold": settings.iou_threshold,
            "suppression": "regular" if settings.use_regular_nms else "fast",
            "max_detections": settings.max_detections,
        },
    }
