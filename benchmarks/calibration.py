"""Compares the calibration methods of post-training quantisation with the converter's calibration.

    python -m benchmarks.calibration build/specialized/fast/post.safetensors build/baselines/v3_small_0.5.safetensors

For each network and form of hard swish it prints top1 on val images of the packed data set, the share of images for which the
uint8 file gives the float network's class, and the mean squared difference between their probabilities. Kernels: XNNPACK.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ofa_core.convert.hard_swish import FORMS
from ofa_core.convert.integer import calibrate, draw_calibration, quantize
from ofa_core.convert.network import TFNetwork, tf_network
from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert, convert_float, converter_of
from ofa_core.export.parity import network_outputs
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.nn.network import Network
from ofa_core.nn.weights import load_layers, load_network, read_description
from ofa_core.quantization.params import Calibration
from ofa_core.run import paths
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.tasks.registry import get_task


def compare(net: Network, calibration: np.ndarray, images: np.ndarray, labels: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yields rows: form, calibration, top1, agreement, squared_difference. calibration, images: uint8 (n, r, r, 3)."""
    expected = network_outputs(net, images, get_task("classification"))["probabilities"]

    def row(form: str, method: str, got: np.ndarray) -> dict[str, Any]:
        return {
            "form": form,
            "calibration": method,
            "top1": float((got.argmax(1) == labels).mean()),
            "agreement": float((got.argmax(1) == expected.argmax(1)).mean()),
            "squared_difference": float(np.square(got - expected).mean()),
        }

    yield row("float", "", expected)
    for form in FORMS if any(layer.act == "h_swish" for layer in net.active) else FORMS[:1]:
        network = tf_network(net, hard_swish=form)
        float_file = convert_float(network)
        yield row(form, "converter", TFLiteModel(by_converter(network, calibration)).predict(images))
        for method in get_args(Calibration):
            content = quantize(float_file, network.ops, calibrate(net, calibration, method, form))
            yield row(form, method, TFLiteModel(content).predict(images))


def by_converter(network: TFNetwork, images: np.ndarray) -> bytes:
    """A full-integer file by the converter's own calibration. images: uint8 (n, r, r, 3)."""
    converter = converter_of(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    inputs = images.astype(np.float32) / np.float32(127.5) - 1
    converter.representative_dataset = lambda: ([x[None]] for x in inputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return convert(converter)


def main() -> None:
    """Prints a table, or JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", type=Path, help="output files of the stages specialize and train_baselines")
    parser.add_argument("--calibration-images", type=int, default=200, help="train images")
    parser.add_argument("--images", type=int, default=1000, help="val images")
    parser.add_argument("--seed", type=int, default=0, help="selects the train images")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    train, val = load_split(paths.DATASET, "train"), load_split(paths.DATASET, "val")
    chosen = draw_calibration(len(train.images), args.calibration_images, args.seed)
    found = {}
    for path in args.networks:
        net = load_network(path)[0] if "arch" in read_description(path) else load_layers(path)
        r = net.active[0].resolution
        calibration, images = to_rgb(resize(train.images[chosen], r)), to_rgb(resize(val.images[: args.images], r))
        found[str(path)] = []
        for row in compare(net, calibration, images, val.labels[: args.images]):
            found[str(path)].append(row)
            if not args.json:
                method = f"{row['form']} {row['calibration']}"
                print(
                    f"{row['top1']:.4f} {row['agreement']:.4f} {row['squared_difference']:.2e}  {path.stem}  {method}",
                    flush=True,
                )
    if args.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
