"""The card of a released model: what it is, how to run it, how good and how fast it is."""

import json
from collections.abc import Mapping
from typing import Any

from ofa_core.tasks.registry import TASKS, get_task

FILES = {
    "uint8": "full-integer TFLite, uint8 in and out",
    "int8": "full-integer TFLite, int8 in and out",
    "dynamic": "TFLite, 8-bit weights, float32 activations",
    "float16": "TFLite, 16-bit weights, float32 activations",
    "float": "float32 TFLite",
    "saved_model": "TensorFlow SavedModel, float32, in an archive",
    "frozen": "TensorFlow frozen graph, float32",
    "onnx": "ONNX, float32",
    "torch": "PyTorch weights, safetensors",
    "labels": "class names, one a line, in the order of the outputs",
}

DETECTOR_FILES = {
    "uint8": "full-integer TFLite, uint8 in; boxes, classes, scores and count out, float32",
    "float": "float32 TFLite, the same outputs",
    "onnx": "ONNX, float32; encodings of boxes and scores of all anchors, before suppression",
}
"""Of detectors, where it differs."""


def model_card(entry: Mapping[str, Any]) -> str:
    """The Markdown of ID.md from a complete manifest entry (see `ofa_core.release.folder.ReleasedModel`, and `files`)."""
    height, width = entry["input"]["size"]
    licence = f"\n\nLicence of the training data: {entry['dataset_license']}." if entry.get("dataset_license") else ""
    parts = [
        f"# {entry['id']}",
        f"A {entry['task']} network for {height} x {width} pixel images, a sub-network of a once-for-all network\n"
        f"(https://arxiv.org/abs/1908.09791), trained on {entry['dataset']}.{licence}",
        *(["## Use", _usage(entry)] if "uint8" in entry["files"] else []),
        "## Measured",
        _metrics(entry["task"], entry["metrics"]),
        "## Preprocessing",
        _preprocessing(entry),
        "## Architecture",
        f"```json\n{json.dumps(entry['arch'], sort_keys=True)}\n```",
        "## Files",
        _files(entry["files"], FILES | DETECTOR_FILES if entry["task"] == "detection" else FILES),
        "Check them with `md5sum -c MD5SUMS` or `ofa verify .` in this folder.",
    ]
    return "\n\n".join(parts) + "\n"


def _usage(entry: Mapping[str, Any]) -> str:
    """A program that runs as it is, next to the model and an image."""
    resize, crop = entry["preprocessing"]["resize_to"], entry["preprocessing"].get("crop")
    grey, square = entry["input"]["channels"] == 1, entry["preprocessing"].get("shorter_side")
    lines = [
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert numpy pillow",
        f"from PIL import Image{', ImageOps' if square else ''}",
        "",
        f'interpreter = Interpreter("{entry["files"]["uint8"]["name"]}")',
        "interpreter.allocate_tensors()",
        f'image = Image.open("image.png").convert("{"L" if grey else "RGB"}")',
        *(
            [f"image = ImageOps.fit(image, ({square}, {square}), Image.Resampling.BILINEAR)  # the centre square"]
            if square
            else []
        ),
        f"image = image.resize(({resize[1]}, {resize[0]}), Image.Resampling.BILINEAR)  # width, height",
    ]
    if crop:
        top, left = (resize[0] - crop[0]) // 2, (resize[1] - crop[1]) // 2
        lines.append(f"image = image.crop(({left}, {top}, {left + crop[1]}, {top + crop[0]}))")
    lines += [
        f"pixels = np.asarray(image, np.uint8)[None{', ..., None' if grey else ''}]  # (1, height, width, channels), raw bytes",
        'interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)',
        "interpreter.invoke()",
    ]
    lines += LAST_LINES.get(entry["task"], _print_outputs)(entry["files"])
    lines_of_code = "\n".join(lines)
    return f"```python\n{lines_of_code}\n```"


def _print_class(listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The end of the program for a classifier: prints the best class, by number without names."""
    names = f'open("{listed["labels"]["name"]}").read().splitlines()' if "labels" in listed else ""
    return [
        'scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]  # uint8, one a class',
        f"print({names}[scores.argmax()])" if names else "print(scores.argmax())",
    ]


def _print_boxes(listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The end of the program for a detector: prints the boxes with a score that counts; classes by number without names."""
    names = f'open("{listed["labels"]["name"]}").read().splitlines()' if "labels" in listed else ""
    label = "names[int(classes[i])]" if names else "int(classes[i])"
    return [
        "outputs = interpreter.get_output_details()  # boxes, classes, scores, count",
        'boxes, classes, scores, count = (interpreter.get_tensor(output["index"])[0] for output in outputs)',
        *([f"names = {names}"] if names else []),
        "for i in range(int(count)):  # best first; rows after the count mean nothing",
        "    if scores[i] >= 0.3:",
        f"        print({label}, scores[i], boxes[i])  # ymin, xmin, ymax, xmax as shares of height and width",
    ]


def _print_outputs(listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The end of the program for an unknown task: prints every output unchanged."""
    return [
        "for output in interpreter.get_output_details():",
        '    print(output["name"], interpreter.get_tensor(output["index"]))',
    ]


LAST_LINES = {"classification": _print_class, "detection": _print_boxes}
"""The end of the program, by task."""


def _metrics(task: str, metrics: Mapping[str, Any]) -> str:
    """A table of the metrics with a value: shares in percent, latencies in ms."""
    rows = [f"| {key} | {_shown(task, key, value)} |" for key, value in sorted(metrics.items()) if value is not None]
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def _shown(task: str, key: str, value: Any) -> str:
    """A metric with its unit."""
    if isinstance(value, int | float) and (get_task(task).is_share(key) if task in TASKS else key == "map"):
        return f"{value:.2%}"
    if isinstance(value, int | float) and key.endswith("_ms"):
        return f"{value:.3g} ms"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _preprocessing(entry: Mapping[str, Any]) -> str:
    rule, tensor = entry["preprocessing"], entry["input"]
    crop = f", then the centre {rule['crop'][0]} x {rule['crop'][1]}" if rule.get("crop") else ""
    square = rule.get("shorter_side")
    first = f"Resize the shorter side to {square} pixels and crop the centre {square} x {square}. " if square else ""
    lines = [f"{first}Resize ({rule['resize']}) to {rule['resize_to'][0]} x {rule['resize_to'][1]} (height x width){crop}."]
    if "uint8" in entry["files"]:
        lines.append(
            f"The uint8 file takes raw bytes 0..255 in the order (1, height, width, {tensor['channels']}); "
            f"scale {tensor['scale']}, zero point {tensor['zero_point']}."
        )
    if "float" in entry["files"] or "onnx" in entry["files"]:
        lines.append(f"The float files take (x - mean) / std with mean {rule['mean']} and std {rule['std']}.")
    if "onnx" in entry["files"]:
        lines.append(f"The order of the ONNX file's input is (1, {tensor['channels']}, height, width).")
    return "\n".join(lines)


def _files(listed: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]) -> str:
    rows = ["| file | what | bytes | MD5 | SHA-256 |", "|---|---|---|---|---|"]
    for kind, what in about.items():
        if kind not in listed:
            continue
        file = listed[kind]
        rows.append(f"| {file['name']} | {what} | {file['bytes']} | `{file['md5']}` | `{file['sha256']}` |")
    return "\n".join(rows)
