"""Runs TFLite files, classifiers among them, on this machine with LiteRT, the successor of TensorFlow Lite."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.runtime.quiet import quiet

DTYPES = (np.uint8, np.int8, np.float32)
Kernels = Literal["xnnpack", "builtin", "reference"]
"""xnnpack: the default, XNNPACK's kernels where available. builtin: TFLite's optimised kernels. reference: TFLite's slow,
readable kernels."""


def make_interpreter(model: str | Path | bytes, threads: int = 1, kernels: Kernels = "xnnpack", keep_all: bool = False) -> Any:
    """A TFLite interpreter with its tensors allocated. Raises InputError for a file that is not a TFLite model.

    keep_all: keeps every tensor readable after a run, except those of operators that XNNPACK runs.
    """
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    if content[4:8] != b"TFL3":
        raise InputError(f"{'model' if isinstance(model, bytes) else model}: not a TFLite file")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # half a second to import

    resolver = {"xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}[kernels]
    with quiet():
        interpreter = Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=getattr(OpResolverType, resolver),
            experimental_preserve_all_tensors=keep_all,
        )
        interpreter.allocate_tensors()
    return interpreter


class ImageModel:
    """A TFLite file with one image (1, h, w, c) as its only input.

    model: path or content of the file. threads, kernels, keep_all: as in `make_interpreter`.
    mean, std: normalisation for a float32 model, (x - mean) / std with x in 0..255. A uint8 model gets the bytes unchanged, an
    int8 model the bytes minus 128.

    Raises InputError for a file that is not a TFLite model, or has other inputs.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        threads: int = 1,
        mean: float = 127.5,
        std: float = 127.5,
        kernels: Kernels = "xnnpack",
        keep_all: bool = False,
    ) -> None:
        self.interpreter, self.mean, self.std = make_interpreter(model, threads, kernels, keep_all), mean, std
        self.name = "model" if isinstance(model, bytes) else str(model)
        inputs, self.outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4 or inputs[0]["dtype"] not in DTYPES:
            raise InputError(f"{self.name}: expected one input, an image in uint8, int8 or float32")
        self.input_details = inputs[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return int(self.input_details["shape"][1]), int(self.input_details["shape"][2])

    def check(self, images: np.ndarray) -> None:
        """Raises InputError for images of another type or shape than uint8 (n, h, w, c)."""
        shape = tuple(int(n) for n in self.input_details["shape"][1:])
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise InputError(f"images: {images.dtype} {images.shape}; the model takes uint8 (n, {str(shape)[1:]}")

    def run(self, image: np.ndarray) -> None:
        """Computes the outputs for one image uint8 (h, w, c); the interpreter holds them."""
        if self.input_details["dtype"] == np.int8:
            image = (image.astype(np.int16) - 128).astype(np.int8)
        elif self.input_details["dtype"] == np.float32:
            image = (image.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)
        self.interpreter.set_tensor(self.input_details["index"], image[None])
        self.interpreter.invoke()


class TFLiteModel(ImageModel):
    """A TFLite classifier: one image (1, h, w, 3) in, one vector of probabilities (1, classes) out.

    Arguments as those of `ImageModel`. Raises InputError for a file that is not a TFLite model, or has other inputs or outputs.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        threads: int = 1,
        mean: float = 127.5,
        std: float = 127.5,
        kernels: Kernels = "xnnpack",
        keep_all: bool = False,
    ) -> None:
        super().__init__(model, threads, mean, std, kernels, keep_all)
        if len(self.outputs) != 1 or len(self.outputs[0]["shape"]) != 2 or self.outputs[0]["dtype"] not in DTYPES:
            raise InputError(f"{self.name}: expected one output, probabilities in uint8, int8 or float32")
        [self.output_details] = self.outputs

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes) float32 of images (n, h, w, 3) uint8. Raises InputError for another type or shape."""
        self.check(images)
        rows = [self._predict_one(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, int(self.output_details["shape"][1])), np.float32)

    def _predict_one(self, image: np.ndarray) -> np.ndarray:  # (h, w, 3) -> (classes,)
        self.run(image)
        output = self.interpreter.get_tensor(self.output_details["index"])[0]
        if self.output_details["dtype"] != np.float32:
            scale, zero_point = self.output_details["quantization"]
            output = (output.astype(np.float32) - zero_point) * np.float32(scale)
        return output

    # What a model that keeps all of its tensors holds after a run; indices are those of the file's tensors.

    def steps(self, index: int) -> np.ndarray | None:
        """The integers of an int8 tensor less its zero point; None for a tensor of another type."""
        details, values = self._tensor(index)
        return values.astype(int) - details["quantization"][1] if details["dtype"] == np.int8 else None

    def tensor(self, index: int) -> np.ndarray:
        """The float64 values that a tensor stands for."""
        (details, values), scale = self._tensor(index), self.scale_of(index)
        return values.astype(np.float64) if scale == 0 else (values.astype(np.float64) - details["quantization"][1]) * scale

    def scale_of(self, index: int) -> float:
        """The scale of a tensor; 0 for a float one."""
        return float(self._tensor(index)[0]["quantization"][0])

    def _tensor(self, index: int) -> tuple[Any, np.ndarray]:
        # The public get_tensor_details describes all tensors at once, which takes longer than running the model.
        return self.interpreter._get_tensor_details(index, 0), self.interpreter.get_tensor(index)
