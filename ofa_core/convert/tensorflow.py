"""The only place that imports TensorFlow, quietly, and its private modules.

Private are the schema of TFLite files, and the quantiser that turns a float file with ranges into an integer file.
TensorFlow's public converter offers the quantiser only with its own calibration (docs/export.md says why we do not use it).
"""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from flatbuffers import Builder

from ofa_core.run.errors import InputError
from ofa_core.runtime.quiet import quiet


def _import_tensorflow() -> Any:
    """The tensorflow module with logging off. oneDNN is off too: its sums depend on the machine."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with quiet():
        module = import_module("tensorflow")  # not an import statement: it has no type information
    module.get_logger().setLevel("ERROR")
    return module


tf = _import_tensorflow()
schema = import_module("tensorflow.lite.python.schema_py_generated")
"""Classes of TFLite's flatbuffer schema."""
ALIGNMENT = 16
"""Bytes to which a file's constants are aligned."""
OPERATOR_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
"""TFLite's names of operators, such as CONV_2D, by number."""


def read_model(content: bytes) -> Any:
    """The root of the flatbuffer, a `schema.ModelT`. Raises InputError for a file that is not a TFLite model."""
    if content[4:8] != b"TFL3":
        raise InputError("not a TFLite file")
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    except Exception:  # the reader trusts offsets: a damaged file may raise anything
        raise InputError("a damaged TFLite file") from None


class _Builder(Builder):
    """Aligns the bytes of constants, as the schema's `force_align: 16` asks. The generated Python code leaves that out."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802
        if x.dtype == np.uint8:
            self.Prep(ALIGNMENT, x.size)
        return super().CreateNumpyVector(x)


def write_model(model: Any) -> bytes:
    """The content of a TFLite file from a `schema.ModelT`."""
    builder = _Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def quantize_annotated(content: bytes, io: str, keep_float: Sequence[str]) -> bytes:
    """Turns a float file whose tensors carry ranges (min and max for quantisation) into a full-integer file.

    io: uint8 or int8, the type of input and output. keep_float: names of operators' outputs that stay float.
    """
    dtype = {"uint8": tf.uint8, "int8": tf.int8}[io]
    converter = import_module("tensorflow.lite.python.convert")
    with quiet():
        quantized = converter.mlir_quantize(
            content, input_data_type=dtype, output_data_type=dtype, denylisted_nodes=list(keep_float)
        )
    return bytes(quantized)
