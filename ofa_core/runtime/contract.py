"""Checks a TFLite file against the contracts of the on-device vision challenges OVIC and LPCVC (TensorFlow's `lite/java/ovic`).

classification  Input: one uint8 image [1, H, W, 3] of raw RGB bytes, H and W from 1 to 1000. Output: probabilities [1, 1001];
                index 0 is the background; float32, or uint8 read as value / 255 (scale 1/256 or 1/255, zero point 0).
detection       The same input. Four float32 outputs in this order: boxes [1, 100, 4] as (ymin, xmin, ymax, xmax), relative to
                the image; classes [1, 100] from 0, without background; scores [1, 100], descending; count [1].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.runtime.choices import Contract
from ofa_core.runtime.tflite import make_interpreter

CLASSES = 1001
DETECTIONS = 100
LARGEST_SIDE = 1000
SAMPLES = 4
"""Number of random images that the file is run on."""
FARTHEST = 10
"""Largest coordinate of a box relative to the image. Boxes may leave the image, for the operator does not clip them; pixels are
far larger."""
TOLERANCE = 0.05
"""Largest deviation from 1 of the sum of float probabilities."""


def violations(path: Path, contract: Contract) -> list[str]:
    """Violations of a contract by a TFLite file, one line each. Empty if the file meets the contract.

    Raises InputError if the file does not exist.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        interpreter = make_interpreter(path)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{path}: ")
        return [f"file: cannot be loaded: {reason}"]
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    # Checks that do not run the file. A file that fails here may not run at all.
    found = _input_violations(inputs)
    found += _classification_outputs(outputs) if contract == "classification" else _detection_outputs(outputs)
    if found:
        return found
    rng = np.random.default_rng(0)
    for _ in range(SAMPLES):
        interpreter.set_tensor(inputs[0]["index"], rng.integers(0, 256, inputs[0]["shape"], dtype=np.uint8))
        try:
            interpreter.invoke()
        except RuntimeError as error:
            return [f"file: cannot be run: {' '.join(str(error).split())}"]
        values = [interpreter.get_tensor(output["index"])[0] for output in outputs]
        found = _probabilities(values[0], outputs[0]) if contract == "classification" else _detections(*values)
        if found:
            return found
    return []


def _input_violations(inputs: list[dict[str, Any]]) -> list[str]:
    if len(inputs) != 1:
        return [f"input: {len(inputs)} of them, expected one image"]
    shape, found = _shape(inputs[0]), []
    if inputs[0]["dtype"] != np.uint8:
        found.append(f"input: {np.dtype(inputs[0]['dtype'])}, expected uint8")
    if len(shape) != 4:
        return [*found, f"input: shape {shape}, expected [1, H, W, 3]"]
    if shape[0] != 1:
        found.append(f"input: batch of {shape[0]}, expected 1")
    if shape[3] != 3:
        found.append(f"input: shape {shape}, expected [1, H, W, 3] with the 3 channels last")
    if not all(1 <= side <= LARGEST_SIDE for side in shape[1:3]):
        found.append(f"input: height and width {shape[1:3]}, allowed are 1 to {LARGEST_SIDE}")
    return found


def _classification_outputs(outputs: list[dict[str, Any]]) -> list[str]:
    if len(outputs) != 1:
        return [f"output: {len(outputs)} of them, expected one [1, {CLASSES}]"]
    [output], found = outputs, []
    if output["dtype"] not in (np.uint8, np.float32):
        found.append(f"output: {np.dtype(output['dtype'])}, expected uint8 or float32")
    if _shape(output) != [1, CLASSES]:
        found.append(f"output: shape {_shape(output)}, expected [1, {CLASSES}]: 1000 classes after the background")
    scale, zero_point = output["quantization"]
    if output["dtype"] == np.uint8 and (zero_point != 0 or not 1 / 256.5 < scale < 1 / 254.5):
        found.append(f"output: scale {scale:.6g} and zero point {zero_point}; it is read as value / 255")
    return found


def _detection_outputs(outputs: list[dict[str, Any]]) -> list[str]:
    if len(outputs) != 4:
        return [f"output: {len(outputs)} of them, expected four: boxes, classes, scores, count"]
    expected: Mapping[str, list[int]] = {
        "boxes": [1, DETECTIONS, 4],
        "classes": [1, DETECTIONS],
        "scores": [1, DETECTIONS],
        "count": [1],
    }
    found = []
    for i, (output, (name, shape)) in enumerate(zip(outputs, expected.items(), strict=True)):
        if output["dtype"] != np.float32:
            found.append(f"output {i}: {np.dtype(output['dtype'])}, {name} are expected as float32")
        if _shape(output) not in (shape, [0]):  # shapes of a custom operator may be unknown before it runs
            found.append(f"output {i}: shape {_shape(output)}, {name} are expected as {shape}")
    return found


def _probabilities(values: np.ndarray, output: Mapping[str, Any]) -> list[str]:
    probabilities = values.astype(np.float64)
    if output["dtype"] == np.uint8:
        probabilities *= output["quantization"][0]
    if not np.isfinite(probabilities).all():
        return ["output: values that are not finite"]
    # In 8 bits, 1001 small probabilities may all be rounded down to 0, or up by half a step.
    least, most = (0.0, 2.0) if output["dtype"] == np.uint8 else (1 - TOLERANCE, 1 + TOLERANCE)
    low, high, total = probabilities.min(), probabilities.max(), probabilities.sum()
    if low < 0 or high > 1 + TOLERANCE or not least < total < most:
        return [f"output: values from {low:.3g} to {high:.3g} that sum to {total:.3g} are not probabilities"]
    return []


def _detections(boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, count: np.ndarray | np.float32) -> list[str]:
    """boxes (100, 4), classes (100,), scores (100,), count ()."""
    shapes = [list(np.shape(values)) for values in (boxes, classes, scores, count)]
    if shapes != [[DETECTIONS, 4], [DETECTIONS], [DETECTIONS], []]:
        return [f"output: shapes {shapes} of boxes, classes, scores and count of one image"]
    number = float(np.asarray(count))
    if not 0 <= number <= DETECTIONS or number != round(number):
        return [f"output 3: {number:.3g} is not a count of detections"]
    used = slice(0, int(number))
    if not all(np.isfinite(values[used]).all() for values in (boxes, classes, scores)):
        return ["output: values that are not finite"]
    if (classes[used] != classes[used].round()).any() or (classes[used] < 0).any():
        return ["output 1: classes are not whole numbers from 0; are classes and scores swapped?"]
    if (scores[used] < 0).any() or (scores[used] > 1).any() or (np.diff(scores[used]) > 1e-6).any():
        return ["output 2: scores do not fall from at most 1 to at least 0"]
    if (boxes[used, :2] > boxes[used, 2:] + 1e-6).any() or np.abs(boxes[used]).max(initial=0) > FARTHEST:
        return ["output 0: boxes are not (ymin, xmin, ymax, xmax) relative to the image"]
    return []


def _shape(details: Mapping[str, Any]) -> list[int]:
    return [int(n) for n in details["shape"]]
