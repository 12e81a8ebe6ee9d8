"""TFLite files by the converter alone: float32, weights of fewer bits, and integer parts for timing.

The same network gives the same bytes in every process and folder. Integer files of whole networks: `convert.integer`.
"""

from typing import Any

import numpy as np

from ofa_core.convert.network import TFNetwork
from ofa_core.convert.tensorflow import tf
from ofa_core.run.errors import InputError
from ofa_core.runtime.quiet import quiet


def convert_float(network: TFNetwork) -> bytes:
    """A float32 file: image (1, r, r, 3), normalised, in, probabilities (1, classes) out."""
    return convert(converter_of(network))


def convert_float16(network: TFNetwork) -> bytes:
    """As `convert_float`, with 16-bit weights: half the size, still computed in float32 on CPUs."""
    converter = converter_of(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return convert(converter)


def convert_dynamic(network: TFNetwork) -> bytes:
    """As `convert_float`, with 8-bit weights in the larger layers. Activations are quantised anew in every run."""
    converter = converter_of(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return convert(converter)


def convert_part(network: TFNetwork, *calibration_inputs: np.ndarray, image: bool = False) -> bytes:
    """An integer part of a network, for timing: int8 in and out, or uint8 in if it reads the image.

    Uses the converter's own calibration: ranges do not change how long a layer takes.
    calibration_inputs: (n, ...) float32, for each input of the network. Raises InputError for inputs of another shape, or none.
    """
    inputs = [np.asarray(values, dtype=np.float32) for values in calibration_inputs]
    for values, shape in zip(inputs, network.input_shapes, strict=True):
        if not len(values) or values.shape[1:] != shape[1:]:
            raise InputError(f"calibration inputs: shape {values.shape}, expected (n, {str(shape[1:])[1:]}")
    converter = converter_of(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None] for x in xs] for xs in zip(*inputs, strict=True))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8 if image else tf.int8, tf.int8
    return convert(converter)


def converter_of(network: TFNetwork) -> Any:
    """A fresh converter for each file, as converters keep state."""
    with quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([network.concrete], network)


def convert(converter: Any) -> bytes:
    """The content of a converter's file."""
    with quiet():
        return bytes(converter.convert())
