"""Whether exported files compute what the torch network computes: largest differences, equal answers, kernels, layers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch

from ofa_core.convert.network import PROBABILITIES, TFNetwork
from ofa_core.convert.saved_model import run_frozen_graph, run_saved_model
from ofa_core.convert.tensorflow import read_model, tf
from ofa_core.convert.tracing import SAME_RANGE, trace
from ofa_core.nn.inputs import Normalization, to_input
from ofa_core.nn.network import LayerModule, Network
from ofa_core.run.errors import InputError
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.space.ops import Op
from ofa_core.tasks.task import Outputs, Task, joined
from ofa_core.tasks.trainable import TrainableTask

BATCH = 50
"""Images torch computes at once."""
LAYERED = 20
"""Images for the errors of layers, which read every tensor."""

EXACT = ("tensorflow", "float", "saved_model", "frozen", "onnx")
"""Formats in float32 only: their difference from torch is bounded."""


def network_outputs(network: LayerModule, images: np.ndarray, task: TrainableTask) -> Outputs:
    """What exported files should compute for images uint8 (n, r, r, 3), by a network in eval mode."""
    inputs = (to_input(images[i : i + BATCH], network.normalization) for i in range(0, len(images), BATCH))
    with torch.no_grad():
        return joined([task.finished(network(x)) for x in inputs])


def compare(
    network: Network, whole: TFNetwork, content: Mapping[str, bytes], images: np.ndarray, task: TrainableTask
) -> dict[str, dict[str, float]]:
    """How far every format is from torch on real images uint8 (n, r, r, 3).

    Returns the result of `Task.compare` by format, and for the TensorFlow network itself.
    """
    expected, runners = network_outputs(network, images, task), _runners(whole, content, network.normalization)
    return {name: task.compare(task.named(predict(images)), expected) for name, predict in runners.items()}


def check_difference(found: Mapping[str, Mapping[str, float]], most: float) -> None:
    """Raises InputError, one line, if a format that computes in float32 differs from torch by more than `most`."""
    for name in EXACT:
        difference = found.get(name, {}).get("largest_difference", 0.0)
        if not difference <= most:  # NaN is a difference too
            raise InputError(f"{name}: differs from torch by {difference:.3g}, more than max_float_difference: {most:g}")


def compare_kernels(content: bytes, images: np.ndarray, task: Task) -> dict[str, float]:
    """How far XNNPACK and TFLite's reference kernels agree on an integer file, on images uint8 (n, r, r, 3).

    They round differently, so expect equal scales but not equal bits. Returns the result of `Task.compare_steps`.
    """
    models = [TFLiteModel(content, kernels=kernels) for kernels in ("xnnpack", "reference")]
    return task.compare_steps(*(in_steps(task.named(model.predict(images)), model) for model in models))


def in_steps(outputs: Outputs, model: TFLiteModel) -> Outputs:
    """Outputs in steps of their scale in an integer file, zero at the zero point, within the file's type."""
    scale, zero_point = model.output_details["quantization"]
    bounds = np.iinfo(model.output_details["dtype"])
    return {
        name: np.rint(values / scale).clip(bounds.min - zero_point, bounds.max - zero_point) for name, values in outputs.items()
    }


def check_kernels(found: Mapping[str, float], least: float, task: Task) -> None:
    """Raises InputError, one line, if kernels give the same answer for less than a share `least` of the images."""
    if (share := found[task.agreement_name]) < least:
        raise InputError(
            f"uint8: XNNPACK and the reference kernels agree on {share:.2%} of the images, "
            f"less than min_kernel_agreement: {least:g}"
        )


def layer_errors(
    float_file: bytes, integer_file: bytes, normalization: Normalization, images: np.ndarray, ops: Sequence[Op]
) -> list[dict[str, Any]]:
    """Where quantisation loses accuracy: each activation of an integer file against the float file's, in computed order.

    normalization: of the float file's input. images: uint8 (n, r, r, 3); the first `LAYERED` are run. ops: of the network.
    A row has position, layer, tensor (the point), operator, sqnr_db (power of the float activation over that of the difference,
    including all earlier errors), mean_error (integer minus float: the bias), scale (0 in a layer that stayed float).
    """
    files = (float_file, integer_file)
    models = [TFLiteModel(file, kernels="builtin", keep_all=True, **normalization.scalars) for file in files]
    traced = [trace(read_model(file), ops) for file in files]
    exact, coarse = ({o.point: o for o in found if o.kind not in SAME_RANGE and o.point != PROBABILITIES} for found in traced)
    power, noise, bias = (dict.fromkeys(coarse, 0.0) for _ in range(3))
    images = images[:LAYERED]
    for image in images:
        for model in models:
            model.predict(image[None])
        for point in coarse:
            x, y = (model.tensor(found[point].output) for model, found in zip(models, (exact, coarse), strict=True))
            power[point] += float(np.square(x).mean())
            noise[point] += float(np.square(y - x).mean())
            bias[point] += float((y - x).mean())
    rows = []
    for position, (point, operator) in enumerate(coarse.items()):
        ratio = power[point] / noise[point] if noise[point] and power[point] else float("inf")
        scale = models[1].scale_of(operator.output)
        rows.append({
            "position": position,
            "layer": point.partition(".")[0],
            "tensor": point,
            "operator": operator.kind,
            "sqnr_db": round(min(10 * float(np.log10(ratio)), 100.0), 2),
            "mean_error": float(f"{bias[point] / len(images):.3g}"),
            "scale": float(f"{scale:.6g}"),
        })  # fmt: skip
    return rows


def _runners(
    whole: TFNetwork, content: Mapping[str, bytes], normalization: Normalization
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Functions by format: images uint8 (n, r, r, 3) to the output (n, ...)."""
    runners = {"tensorflow": _tensorflow(lambda x: next(iter(whole.function(x).values())), normalization)}
    for name, file in content.items():
        if name == "onnx":
            runners[name] = _onnx(file, normalization)
        elif name == "frozen":
            runners[name] = _tensorflow(run_frozen_graph(file), normalization)
        elif name == "saved_model":
            runners[name] = _tensorflow(run_saved_model(file), normalization)
        elif name != "torch":
            runners[name] = TFLiteModel(file, **normalization.scalars).predict
    return runners


def _tensorflow(function: Callable[[Any], Any], normalization: Normalization) -> Callable[[np.ndarray], np.ndarray]:
    def predict(images: np.ndarray) -> np.ndarray:
        inputs = to_input(images, normalization).permute(0, 2, 3, 1).contiguous().numpy()
        return np.concatenate([np.asarray(function(tf.constant(x[None]))) for x in inputs])

    return predict


def _onnx(content: bytes, normalization: Normalization) -> Callable[[np.ndarray], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def predict(images: np.ndarray) -> np.ndarray:
        return np.concatenate([session.run(None, {"image": x[None]})[0] for x in to_input(images, normalization).numpy()])

    return predict
