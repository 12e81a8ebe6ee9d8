"""What the integer file loses against the float one on labelled images: the gate of post-training quantisation."""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from ofa_core.runtime.tflite import TFLiteModel

BATCH = 500
"""Images between two updates of the progress bar."""


def int8_drop(float_file: bytes, uint8_file: bytes, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """top1 (0..1) of the float and the uint8 file, what the latter loses, and the share of images they agree on.

    images: uint8 (n, r, r, 3). labels: (n,), indices of outputs. Among tied probabilities, the first class counts.
    """
    best = {name: classes_of(name, file, images) for name, file in (("float", float_file), ("uint8", uint8_file))}
    top1 = {name: float((found == labels).mean()) for name, found in best.items()}
    return {
        "top1_float": top1["float"],
        "top1_uint8": top1["uint8"],
        "int8_drop": top1["float"] - top1["uint8"],
        "int8_agreement": float((best["float"] == best["uint8"]).mean()),
    }


def check_drop(found: Mapping[str, float], most: float) -> None:
    """Raises ValueError, one line, when the integer file loses more than `most` of top1."""
    if found["int8_drop"] > most:
        raise ValueError(
            f"uint8: top1 on val falls from {found['top1_float']:.2%} to {found['top1_uint8']:.2%} by quantisation, "
            f"more than max_int8_drop: {most:g}"
        )


def classes_of(name: str, content: bytes, images: np.ndarray) -> np.ndarray:
    """The class (n,) that a TFLite file gives each image uint8 (n, r, r, 3). name: of the file, for the progress bar."""
    model, found = TFLiteModel(content), []
    with tqdm(total=len(images), desc=f"{name} on val", unit="image", mininterval=1) as bar:
        for i in range(0, len(images), BATCH):
            found.append(model.predict(images[i : i + BATCH]).argmax(1))
            bar.update(len(found[-1]))
    return np.concatenate(found)
