"""TFLite files from a twin: float32, or full-integer with 8-bit weights per output channel and 8-bit activations.

The same twin gives the same bytes in every process and folder.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ofa_core.export.quiet import quiet
from ofa_core.export.twin import Twin, tf


def convert_float(twin: Twin) -> bytes:
    """A float32 file: image (1, r, r, 3) normalised to x / 127.5 - 1 in, probabilities (1, classes) out."""
    return _convert(_converter(twin), twin)


def convert_uint8(twin: Twin, calibration_images: np.ndarray) -> bytes:
    """A full-integer file: raw pixels (1, r, r, 3) uint8 in, probabilities (1, classes) uint8 out.

    calibration_images: (n, r, r, 3) uint8, whose activations give the ranges (smallest and largest value). The first gets a
    black and a white pixel, so that the input has scale 2/255 and zero point 127 or 128, and takes pixels as they are.

    Raises ValueError for images of another type or shape, or none.
    """
    images = np.asarray(calibration_images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != twin.input_shape[1:]:
        expected = ("n", *twin.input_shape[1:])
        raise ValueError(f"calibration images: {images.dtype} {images.shape}, expected uint8 ({', '.join(map(str, expected))})")
    if not len(images):
        raise ValueError("calibration images: none")

    def inputs() -> Iterator[list[np.ndarray]]:
        for i, image in enumerate(images):
            x = image.astype(np.float32)[None] / np.float32(127.5) - 1
            if i == 0:
                x[0, 0, 0], x[0, -1, -1] = -1, 1
            yield [x]

    return _convert_integer(twin, inputs, tf.uint8)


def convert_int8(twin: Twin, calibration_inputs: np.ndarray) -> bytes:
    """A full-integer file with int8 in and out, for parts of a network.

    calibration_inputs: (n, ...) float32, what the part may get; n at least 1. Raises ValueError for another shape or none.
    """
    inputs = np.asarray(calibration_inputs, dtype=np.float32)
    if not len(inputs) or inputs.shape[1:] != twin.input_shape[1:]:
        raise ValueError(f"calibration inputs: shape {inputs.shape}, expected (n, {str(twin.input_shape[1:])[1:]}")
    return _convert_integer(twin, lambda: ([x[None]] for x in inputs), tf.int8)


def _convert_integer(twin: Twin, inputs: Callable[[], Iterator[list[np.ndarray]]], dtype: Any) -> bytes:
    converter = _converter(twin)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = inputs
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    return _convert(converter, twin)


def _converter(twin: Twin) -> Any:
    """A fresh converter: one keeps state, so each file gets its own."""
    with quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([twin.concrete], twin)


def _convert(converter: Any, twin: Twin) -> bytes:
    with quiet():
        return bytes(converter.convert())
