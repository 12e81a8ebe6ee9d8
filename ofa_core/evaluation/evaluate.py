"""The last evaluation: accuracy of released files on the test split and their measured latency."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from tqdm import tqdm

from ofa_core.evaluation.params import EvaluateParams
from ofa_core.runtime.host import time_model
from ofa_core.runtime.tflite import TFLiteModel

BATCH = 250
"""Images a core runs at a time."""


def measure(models: Mapping[str, Path], images: np.ndarray, labels: np.ndarray, params: EvaluateParams) -> dict[str, float]:
    """Accuracy and latency of a network's files: top1, top5, latency_ms, latency_spread_ms, with float_ before the float one's.

    models: paths by kind, uint8 and float; images uint8 (N, r, r, 3), labels (N,).
    """
    metrics: dict[str, float] = {}
    for kind, prefix in (("uint8", ""), ("float", "float_")):
        if kind in models:
            timing = time_model(models[kind], params.threads, params.instances, params.milliseconds / 1000)
            found = accuracy(models[kind], images, labels)
            found |= {"latency_ms": timing.median_ms, "latency_spread_ms": timing.spread_ms}
            metrics |= {f"{prefix}{key}": value for key, value in found.items()}
    return metrics


def accuracy(model: Path, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """top1 and top5 (0..1) of a TFLite file on images uint8 (N, r, r, 3) with labels (N,), on all cores.

    Equal probabilities, which 8-bit outputs often have, count in the order of the classes.
    """
    runners: SimpleQueue[TFLiteModel] = SimpleQueue()
    workers = os.cpu_count() or 1
    for _ in range(workers):
        runners.put(TFLiteModel(model, threads=1))

    def hits(first: int) -> np.ndarray:  # -> (5,): how many labels are the most probable class, the next one, ...
        runner = runners.get()
        probabilities = runner.predict(images[first : first + BATCH])  # (n, classes)
        runners.put(runner)
        ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        right = (ranked == labels[first : first + BATCH, None]).sum(0)
        return np.pad(right, (0, 5 - len(right)))

    starts = range(0, len(labels), BATCH)
    with ThreadPoolExecutor(workers) as pool:
        found = tqdm(pool.map(hits, starts), total=len(starts), desc=model.name, unit=f"x{BATCH} images", mininterval=1)
        total = sum(found, np.zeros(5))
    return {"top1": float(total[0] / len(labels)), "top5": float(total.sum() / len(labels))}
