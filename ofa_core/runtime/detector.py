"""Runs TFLite detectors on this machine: files with the four outputs of TFLite_Detection_PostProcess."""

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers

from ofa_core.run.errors import InputError
from ofa_core.runtime.tflite import ImageModel, make_interpreter

OUTPUTS = 4
"""Boxes, classes, scores and their count (`runtime.contract`)."""
OPERATOR = b"TFLite_Detection_PostProcess"


def is_detector(path: Path) -> bool:
    """Whether a file has as many outputs as a detector. Raises InputError if it is not a TFLite model."""
    return len(make_interpreter(path).get_output_details()) == OUTPUTS


class TFLiteDetector(ImageModel):
    """A TFLite detector: one image (1, h, w, 3) in; boxes (1, k, 4), classes (1, k), scores (1, k) and count (1) out.

    Arguments as those of `ImageModel`. Raises InputError for a file that is not a TFLite model, or has other inputs or outputs.
    """

    def __init__(self, model: str | Path | bytes, threads: int = 1, mean: float = 127.5, std: float = 127.5) -> None:
        super().__init__(model, threads, mean, std)
        shapes = [[int(n) for n in details["shape"]] for details in self.outputs]
        rows = shapes[0][1] if shapes and len(shapes[0]) == 3 else 0
        right = shapes == [[1, rows, 4], [1, rows], [1, rows], [1]]
        if not right or any(details["dtype"] != np.float32 for details in self.outputs):
            raise InputError(f"{self.name}: expected four float32 outputs: boxes, classes, scores, count")

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of images (n, h, w, 3) uint8, n from 1: boxes (n, k, 4), classes (n, k), scores (n, k), count (n,), all float32.

        Rows from the count on mean nothing. Raises InputError for images of another type or shape.
        """
        self.check(images)
        rows = [self._predict_one(image) for image in images]
        boxes, classes, scores, count = (np.concatenate(values) for values in zip(*rows, strict=True))
        return boxes, classes, scores, count

    def _predict_one(self, image: np.ndarray) -> list[np.ndarray]:  # (h, w, 3) -> (1, k, 4), (1, k), (1, k), (1,)
        self.run(image)
        return [self.interpreter.get_tensor(details["index"]) for details in self.outputs]


def class_count(content: bytes) -> int | None:
    """The number of classes that the detection operator of a TFLite file says; None if it has no such operator."""
    from ai_edge_litert import schema_py_generated as schema  # a fifth of a second to import

    model = schema.Model.GetRootAs(content, 0)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            if model.OperatorCodes(operator.OpcodeIndex()).CustomCode() == OPERATOR:
                options = flexbuffers.GetRoot(operator.CustomOptionsAsNumpy().tobytes()).AsMap
                return int(options["num_classes"].AsInt)
    return None
