"""The last evaluation: accuracy of released files on the test split and their measured latency."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ofa_core.export.runtime import TFLiteModel

BATCH = 500
"""Images between two updates of the progress bar."""


def accuracy(model: Path, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """top1 and top5 (0..1) of a TFLite file on images uint8 (N, r, r, 3) with labels (N,).

    Equal probabilities, which 8-bit outputs often have, count in the order of the classes.
    """
    runner = TFLiteModel(model, threads=1)
    hits = np.zeros(5)
    with tqdm(total=len(labels), desc=model.name, unit="image", mininterval=1) as bar:
        for i in range(0, len(labels), BATCH):
            probabilities = runner.predict(images[i : i + BATCH])  # (n, classes)
            ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
            right = ranked == labels[i : i + BATCH, None]
            hits[: right.shape[1]] += right.sum(0)
            bar.update(len(right))
    return {"top1": float(hits[0] / len(labels)), "top5": float(hits.sum() / len(labels))}
