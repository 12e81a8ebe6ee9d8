"""The gate of post-training quantisation: how much worse the integer file is than the float file on labelled images."""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from ofa_core.nn.inputs import SYMMETRIC, Normalization
from ofa_core.run.errors import InputError
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.tasks.task import Task

BATCH = 500
"""Images between two updates of the progress bar."""


def int8_drop(
    float_file: bytes,
    uint8_file: bytes,
    normalization: Normalization,
    images: np.ndarray,
    labels: np.ndarray,
    task: Task,
) -> dict[str, float]:
    """The task's score (0..1) of both files, the drop of the uint8 file, and the share of images they agree on.

    normalization: of the float file's input. images: uint8 (n, r, r, 3). labels: of the n images, in the task's form.
    """
    key, files = task.score_name, {"float": float_file, "uint8": uint8_file}
    answers = {name: answers_of(name, file, images, task, normalization) for name, file in files.items()}
    score = {name: task.score(found, labels)[key] for name, found in answers.items()}
    return {
        f"{key}_float": score["float"],
        f"{key}_uint8": score["uint8"],
        "int8_drop": score["float"] - score["uint8"],
        "int8_agreement": task.agreement(answers["float"], answers["uint8"]),
    }


def check_drop(found: Mapping[str, float], most: float, task: Task) -> None:
    """Raises InputError, one line, if the integer file loses more than `most` of the task's score."""
    if found["int8_drop"] > most:
        before, after = (found[f"{task.score_name}_{name}"] for name in ("float", "uint8"))
        raise InputError(
            f"uint8: {task.score_name} on val falls from {before:.2%} to {after:.2%} by quantisation, "
            f"more than max_int8_drop: {most:g}"
        )


def answers_of(
    name: str, content: bytes, images: np.ndarray, task: Task, normalization: Normalization = SYMMETRIC
) -> np.ndarray:
    """A TFLite file's answers (n, ...) for images uint8 (n, r, r, 3).

    name: of the file, for the progress bar. normalization: of a float file's input.
    """
    model, found = TFLiteModel(content, **normalization.scalars), []
    with tqdm(total=len(images), desc=f"{name} on val", unit="image", mininterval=1) as bar:
        for i in range(0, len(images), BATCH):
            found.append(task.answers(task.named(model.predict(images[i : i + BATCH]))))
            bar.update(len(found[-1]))
    return np.concatenate(found)
