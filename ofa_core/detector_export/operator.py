"""TFLite's operator for detections, appended to a finished file.

Not left to the converter, which may change the order of the operator's outputs. The gates of the export run on the file as it
was before.

Use one thread, or fast suppression: with N threads the regular one leaves out class N (from 0) of a detector that has more
than N classes. Seen in ai-edge-litert 2.3.0; the same as https://github.com/tensorflow/tensorflow/issues/56058.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from ofa_core.convert.tensorflow import read_model, schema, write_model
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.run.errors import InputError

OPERATOR = "TFLite_Detection_PostProcess"
TENSORS = (OPERATOR, *(f"{OPERATOR}:{i}" for i in (1, 2, 3)))
"""Names of the output tensors, as TensorFlow's export_tflite_ssd_graph.py has them."""
OUTPUTS = ("boxes", "classes", "scores", "count")
"""Names of the same outputs in the file's signature."""
VERSIONS = {schema.TensorType.UINT8: 1, schema.TensorType.INT8: 2}
"""Version of DEQUANTIZE by what it reads."""


def append_postprocess(content: bytes, anchors: np.ndarray, settings: PostprocessSettings) -> bytes:
    """The file with the operator at its end. The same input gives the same bytes in every process.

    content: a TFLite file with two outputs, encodings (1, A, 4) and scores (1, A, C), each float32, uint8 or int8. They come in
      this order by their names in the signature, such as boxes and classes, or in a file without one as they stand.
    anchors: float32 (A, 4) y, x, h, w.

    The outputs become boxes (1, n, 4), classes (1, n), scores (1, n) and count (1), all float32; n is max_detections times
    max_classes_per_detection. Integers are dequantised first: the operator does not take int8, and takes uint8 encodings
    only with uint8 anchors.

    Raises InputError for a file with other outputs, and anchors of another shape.
    """
    model, anchors = read_model(content), np.ascontiguousarray(anchors, np.float32)
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise InputError(f"anchors: shape {list(anchors.shape)}, expected [A, 4]")
    graph = _only_graph(model)
    inputs = [_as_float(model, graph, index) for index in _ends(model, graph, len(anchors), settings.num_classes)]
    inputs.append(_tensor(graph, "anchors", anchors.shape, _buffer(model, anchors)))
    rows = settings.max_detections * settings.max_classes_per_detection
    shapes = ((1, rows, 4), (1, rows), (1, rows), (1,))
    graph.outputs = [_tensor(graph, name, shape) for name, shape in zip(TENSORS, shapes, strict=True)]
    operator = _operator(model, graph, inputs, graph.outputs, schema.BuiltinOperator.CUSTOM, 1, OPERATOR)
    operator.customOptions = np.frombuffer(flexbuffers.Dumps(attributes(settings)), np.uint8)
    for signature in model.signatureDefs or ():
        signature.outputs = [_named(name, index) for name, index in zip(OUTPUTS, graph.outputs, strict=True)]
    return write_model(model)


def attributes(settings: PostprocessSettings) -> dict[str, int | float | bool]:
    """The operator's attributes by the kernel's names."""
    scales = dict(zip(("y_scale", "x_scale", "h_scale", "w_scale"), map(float, settings.scales), strict=True))
    return {
        "num_classes": settings.num_classes,
        "max_detections": settings.max_detections,
        "detections_per_class": settings.detections_per_class,
        "max_classes_per_detection": settings.max_classes_per_detection,
        "nms_score_threshold": float(settings.score_threshold),
        "nms_iou_threshold": float(settings.iou_threshold),
        "use_regular_nms": settings.use_regular_nms,
        **scales,
    }


def _only_graph(model: Any) -> Any:
    if len(model.subgraphs) != 1:
        raise InputError(f"file: {len(model.subgraphs)} subgraphs, expected one")
    return model.subgraphs[0]


def _ends(model: Any, graph: Any, anchors: int, classes: int) -> list[int]:
    """The tensors of encodings and scores."""
    # The converter orders the outputs of the graph as it likes. Names tell even four scores from four coordinates.
    named = [output for signature in model.signatureDefs or () for output in signature.outputs]
    ends = [int(output.tensorIndex) for output in sorted(named, key=lambda output: output.name)]
    ends = ends or [int(index) for index in graph.outputs]
    shapes = [[int(n) for n in graph.tensors[index].shape] for index in ends]
    expected = [[1, anchors, 4], [1, anchors, classes]]
    if shapes != expected:
        raise InputError(f"outputs: shapes {shapes}, expected encodings and scores {expected}")
    for index in ends:
        if graph.tensors[index].type not in (schema.TensorType.FLOAT32, *VERSIONS):
            raise InputError(f"outputs: {graph.tensors[index].name.decode()} is neither float32 nor uint8 nor int8")
    return ends


def _as_float(model: Any, graph: Any, index: int) -> int:
    """The tensor itself if it is float32, else that of a new DEQUANTIZE operator."""
    tensor = graph.tensors[index]
    if tensor.type == schema.TensorType.FLOAT32:
        return index
    found = _tensor(graph, f"{tensor.name.decode()}/float", tensor.shape)
    _operator(model, graph, [index], [found], schema.BuiltinOperator.DEQUANTIZE, VERSIONS[tensor.type])
    return found


def _operator(
    model: Any, graph: Any, inputs: Sequence[int], outputs: Sequence[int], code: int, version: int, custom: str | None = None
) -> Any:
    """Adds an operator to the end of the graph."""
    key = (code, version, custom and custom.encode())
    known = [(entry.builtinCode, entry.version, entry.customCode) for entry in model.operatorCodes]
    if key not in known:
        entry = schema.OperatorCodeT()
        # Readers older than the 32-bit field see the other; TFLite's schema asks for both.
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version, entry.customCode = code, code, version, custom
        model.operatorCodes.append(entry)
        known.append(key)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = known.index(key), list(inputs), list(outputs)
    graph.operators.append(operator)
    return operator


def _tensor(graph: Any, name: str, shape: Sequence[int], buffer: int = 0) -> int:
    """Adds a float32 tensor; buffer 0 is the empty one of tensors without constants."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [int(n) for n in shape], schema.TensorType.FLOAT32, buffer
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _buffer(model: Any, constant: np.ndarray) -> int:
    """Adds the bytes of a constant."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(constant.astype("<f4").tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _named(name: str, index: int) -> Any:
    """An entry of a signature."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
