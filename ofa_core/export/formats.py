"""All files of one network, written side by side, with the one description of labels and preprocessing they share."""

from pathlib import Path
from typing import Any

import numpy as np

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.data.resize import to_input
from ofa_core.export.onnx import export_onnx
from ofa_core.export.params import ExportParams
from ofa_core.export.runtime import TFLiteModel
from ofa_core.export.tflite import convert_float, convert_uint8
from ofa_core.export.twin import build_twin
from ofa_core.nn.network import Network


def export_network(
    net: Network,
    arch: Arch,
    weights: Path,
    classes: tuple[str, ...],
    calibration: np.ndarray,
    params: ExportParams,
    target: str,
) -> dict[str, Any]:
    """Writes the files of `params.formats`, labels and description of a target; returns the description.

    net: stand-alone, in eval mode. weights: its own file, copied as the torch format. calibration: uint8 (n, r, r, 3).
    Raises ValueError for calibration images of another shape, or weights that are not finite.
    """
    twin = build_twin(net, hard_swish=params.hard_swish)
    content = {"uint8": convert_uint8(twin, calibration)}
    if "float" in params.formats:
        content["float"] = convert_float(twin)
    if "onnx" in params.formats:
        content["onnx"] = export_onnx(net, arch.r)
    if "torch" in params.formats:
        content["torch"] = weights.read_bytes()
    description = _describe(net, arch, content, calibration)
    for name, data in content.items():
        files.write_bytes(files.exported_file(target, name), data)
    files.write_bytes(files.exported_file(target, "labels"), "".join(f"{name}\n" for name in classes).encode())
    files.write_json(files.exported_file(target, "description"), description)
    return description


def _describe(net: Network, arch: Arch, content: dict[str, bytes], images: np.ndarray) -> dict[str, Any]:
    """What a user of the files needs to know, and how far they agree with torch on the calibration images."""
    expected = net(to_input(images)).softmax(1).detach().numpy()  # (n, classes)
    scale, zero_point = TFLiteModel(content["uint8"]).input_details["quantization"]
    difference, agreement = {}, {}
    for name in ("uint8", "float"):
        if name in content:
            found = TFLiteModel(content[name]).predict(images)
            difference[name] = float(np.abs(found - expected).max())
            agreement[name] = float((found.argmax(1) == expected.argmax(1)).mean())
    size = [arch.r, arch.r]
    return {
        "arch": arch.to_dict(),
        "formats": sorted(content),
        "input": {
            "size": [arch.r, arch.r],
            "channels": 3,
            "dtype": "uint8",
            "scale": float(scale),
            "zero_point": int(zero_point),
        },
        "preprocessing": {"resize": "bilinear", "resize_to": size, "crop": None, "mean": 127.5, "std": 127.5},
        "largest_difference_to_torch": difference,
        "same_top1_as_torch": agreement,
    }
