"""TFLite files from a twin: float32, weights of fewer bits, and full-integer ones to be timed.

The same twin gives the same bytes in every process and folder.
"""

from typing import Any

import numpy as np

from ofa_core.convert.network import Twin
from ofa_core.convert.tensorflow import tf
from ofa_core.runtime.quiet import quiet


def convert_float(twin: Twin) -> bytes:
    """A float32 file: image (1, r, r, 3) normalised to x / 127.5 - 1 in, probabilities (1, classes) out."""
    return _convert(_converter(twin))


def convert_float16(twin: Twin) -> bytes:
    """As `convert_float`, with weights stored in 16 bits: half the size, computed in float32 on processors."""
    converter = _converter(twin)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _convert(converter)


def convert_dynamic(twin: Twin) -> bytes:
    """As `convert_float`, with 8-bit weights of the larger layers; activations are quantised anew in every run."""
    converter = _converter(twin)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _convert(converter)


def convert_uint8(twin: Twin, calibration_images: np.ndarray) -> bytes:
    """A full-integer file by the converter's own calibration, which `export.integer` does without: uint8 (1, r, r, 3) in,
    uint8 out.

    calibration_images: (n, r, r, 3) uint8. Raises ValueError for images of another type or shape, or none.
    """
    images = np.asarray(calibration_images)
    if images.dtype != np.uint8:
        raise ValueError(f"calibration images: {images.dtype}, expected uint8")
    return _convert_integer(twin, images.astype(np.float32) / np.float32(127.5) - 1, tf.uint8, tf.uint8)


def convert_part(twin: Twin, calibration_inputs: np.ndarray, image: bool = False) -> bytes:
    """A part of a network in integers, to be timed: int8 in and out, or uint8 in where it sees the image.

    calibration_inputs: (n, ...) float32. Raises ValueError for inputs of another shape, or none.
    """
    return _convert_integer(twin, np.asarray(calibration_inputs, dtype=np.float32), tf.uint8 if image else tf.int8, tf.int8)


def _convert_integer(twin: Twin, inputs: np.ndarray, input_type: Any, output_type: Any) -> bytes:
    if not len(inputs) or inputs.shape[1:] != twin.input_shape[1:]:
        raise ValueError(f"calibration inputs: shape {inputs.shape}, expected (n, {str(twin.input_shape[1:])[1:]}")
    converter = _converter(twin)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in inputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = input_type, output_type
    return _convert(converter)


def _converter(twin: Twin) -> Any:
    """A fresh converter: one keeps state, so each file gets its own."""
    with quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([twin.concrete], twin)


def _convert(converter: Any) -> bytes:
    with quiet():
        return bytes(converter.convert())
