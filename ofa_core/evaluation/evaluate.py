"""The final evaluation: scores of released files on the test split, and their measured latency."""

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
from ofa_core.tasks.classification import Classification
from ofa_core.tasks.task import Task

BATCH = 250
"""Images that a core runs at a time."""


def measure(
    models: Mapping[str, Path],
    images: np.ndarray,
    labels: np.ndarray,
    params: EvaluateParams,
    task: Task,
    mean: float = 127.5,
    std: float = 127.5,
) -> dict[str, float]:
    """The task's scores (0..1), latency_ms and latency_spread_ms of a network's files. The float file's keys begin with float_.

    models: paths by kind, uint8 and float. images: uint8 (N, r, r, 3). labels: of the N images, in the task's form.
    mean, std: of the float file's input, in pixels.
    """
    metrics: dict[str, float] = {}
    for kind, prefix in (("uint8", ""), ("float", "float_")):
        if kind in models:
            timing = time_model(models[kind], params.threads, params.instances, params.milliseconds / 1000)
            found = score(models[kind], images, labels, task, mean, std)
            found |= {"latency_ms": timing.median_ms, "latency_spread_ms": timing.spread_ms}
            metrics |= {f"{prefix}{key}": value for key, value in found.items()}
    return metrics


def score(
    model: Path, images: np.ndarray, labels: np.ndarray, task: Task, mean: float = 127.5, std: float = 127.5
) -> dict[str, float]:
    """The task's scores (0..1) of a TFLite file on N images uint8 (N, r, r, 3) with these labels; mean, std as in `answers`."""
    return task.score(answers(model, images, task, mean, std), labels)


def correct(model: Path, images: np.ndarray, labels: np.ndarray, task: Classification) -> np.ndarray:
    """Whether a TFLite file is right on each of N images uint8 (N, r, r, 3) with these labels: bool (N,)."""
    return task.correct(answers(model, images, task), labels)


def answers(model: Path, images: np.ndarray, task: Task, mean: float = 127.5, std: float = 127.5) -> np.ndarray:
    """The answers (N, ...) of a TFLite file for images uint8 (N, r, r, 3), on all cores. mean, std: of a float file's input."""
    runners: SimpleQueue[TFLiteModel] = SimpleQueue()
    workers = os.cpu_count() or 1
    for _ in range(workers):
        runners.put(TFLiteModel(model, threads=1, mean=mean, std=std))

    def of_batch(first: int) -> np.ndarray:  # (n, ...)
        runner = runners.get()
        outputs = task.named(runner.predict(images[first : first + BATCH]))
        runners.put(runner)
        return task.answers(outputs)

    starts = range(0, len(images), BATCH)
    with ThreadPoolExecutor(workers) as pool:
        found = tqdm(pool.map(of_batch, starts), total=len(starts), desc=model.name, unit=f"x{BATCH} images", mininterval=1)
        return np.concatenate(list(found))
