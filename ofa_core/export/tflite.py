"""TFLite files from a twin: float32, weights of fewer bits, or full-integer: weights per output channel, activations of 8 bits.

The same twin gives the same bytes in every process and folder.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np

from ofa_core.export.quiet import quiet
from ofa_core.export.runtime import make_interpreter
from ofa_core.export.twin import Twin, tf


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


def convert_integer(
    twin: Twin, calibration_images: np.ndarray, io: Literal["uint8", "int8"] = "uint8", keep_float: Sequence[str] = ()
) -> bytes:
    """A full-integer file: pixels (1, r, r, 3) in, probabilities (1, classes) out, both uint8, or int8 (values less 128).

    calibration_images: (n, r, r, 3) uint8, whose activations give the ranges (smallest and largest value). The first gets a
    black and a white pixel, so that the input has scale 2/255 and zero point 127 or 128, and takes pixels as they are.
    keep_float: names of layers whose operators stay float, between conversions that the converter adds.

    Raises ValueError for images of another type or shape, or none, and for a name that is no layer.
    """
    images = np.asarray(calibration_images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != twin.input_shape[1:]:
        expected = ("n", *twin.input_shape[1:])
        raise ValueError(f"calibration images: {images.dtype} {images.shape}, expected uint8 ({', '.join(map(str, expected))})")
    if not len(images):
        raise ValueError("calibration images: none")
    unknown = sorted(set(keep_float) - {layer.name for layer in twin.layers})
    if unknown:
        raise ValueError(f"keep_float: {unknown[0]!r} is not a layer; there are {', '.join(x.name for x in twin.layers)}")

    def inputs() -> Iterator[list[np.ndarray]]:
        for i, image in enumerate(images):
            x = image.astype(np.float32)[None] / np.float32(127.5) - 1
            if i == 0:
                x[0, 0, 0], x[0, -1, -1] = -1, 1
            yield [x]

    dtype = {"uint8": tf.uint8, "int8": tf.int8}[io]
    return _convert_partly(twin, inputs, dtype, keep_float) if keep_float else _convert_integer(twin, inputs, dtype)


def convert_uint8(twin: Twin, calibration_images: np.ndarray) -> bytes:
    """`convert_integer` with uint8 in and out."""
    return convert_integer(twin, calibration_images)


def convert_int8(twin: Twin, calibration_inputs: np.ndarray) -> bytes:
    """A full-integer file with int8 in and out, for parts of a network.

    calibration_inputs: (n, ...) float32, what the part may get; n at least 1. Raises ValueError for another shape or none.
    """
    inputs = np.asarray(calibration_inputs, dtype=np.float32)
    if not len(inputs) or inputs.shape[1:] != twin.input_shape[1:]:
        raise ValueError(f"calibration inputs: shape {inputs.shape}, expected (n, {str(twin.input_shape[1:])[1:]}")
    return _convert_integer(twin, lambda: ([x[None]] for x in inputs), tf.int8)


Inputs = Callable[[], Iterator[list[np.ndarray]]]


def _convert_integer(twin: Twin, inputs: Inputs, dtype: Any) -> bytes:
    return _convert(_integer_converter(twin, inputs, dtype))


def _convert_partly(twin: Twin, inputs: Inputs, dtype: Any, keep_float: Sequence[str]) -> bytes:
    """Integer arithmetic but for some layers, by what TensorFlow's quantisation debugger offers: selective quantisation."""
    operators = make_interpreter(convert_float(twin), kernels="builtin")._get_ops_details()
    # Every operator's output is named by the layer's scope.
    tensors = {t["index"]: t["name"] for t in make_interpreter(convert_float(twin), kernels="builtin").get_tensor_details()}
    outputs = [tensors[i] for operator in operators for i in operator["outputs"]]
    names = [name for name in outputs if name.partition("/")[0] in keep_float]
    with quiet():
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=_integer_converter(twin, inputs, dtype), debug_dataset=inputs, debug_options=options
        )
        content = debugger.get_nondebug_quantized_model()
        # The debugger's model has float32 in and out.
        io_types = import_module("tensorflow.lite.python.util").modify_model_io_type
        return bytes(io_types(content, dtype, dtype))


def _integer_converter(twin: Twin, inputs: Inputs, dtype: Any) -> Any:
    converter = _converter(twin)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = inputs
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    return converter


def _converter(twin: Twin) -> Any:
    """A fresh converter: one keeps state, so each file gets its own."""
    with quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([twin.concrete], twin)


def _convert(converter: Any) -> bytes:
    with quiet():
        return bytes(converter.convert())
