"""The choice between a target's networks: quantised after training (post) or trained with quantisation (aware)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.params import ConversionParams
from ofa_core.export.int8_drop import answers_of
from ofa_core.nn.network import Network
from ofa_core.nn.uniform_input import with_uniform_input
from ofa_core.nn.weights import load_network, load_ranges
from ofa_core.quantization.fake import Ranges, of_form
from ofa_core.quantization.params import Quantization
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.ops import HardSwish
from ofa_core.tasks.task import Task


class Candidate(NamedTuple):
    """A network of a target. quantization: how it was trained. ranges: of activations, if it is quantisation-aware."""

    quantization: Quantization
    path: Path
    network: Network
    arch: Arch
    ranges: Ranges | None


def load_candidates(folder: Path) -> list[Candidate]:
    """The networks that the stage specialize wrote into a folder, post before aware.

    Raises InputError, one line, for a foreign file, an empty folder, an aware network without ranges, or one whose channels are
    normalised differently.
    """
    found = []
    for quantization in get_args(Quantization):
        path = folder / f"{quantization}.safetensors"
        if path.exists():
            (network, arch), ranges = load_network(path), load_ranges(path)
            if (ranges is None) != (quantization == "post"):
                raise InputError(f"{path}: {'no' if ranges is None else 'has'} ranges of activations")
            if ranges is not None and not network.normalization.uniform:
                raise InputError(f"{path}: quantisation-aware training needs one mean and deviation for all channels")
            found.append(Candidate(quantization, path, with_uniform_input(network), arch, ranges))
    if not found:
        raise InputError(f"{folder}: holds no network")
    return found


def integer_file(candidate: Candidate, params: ConversionParams, hard_swish: HardSwish, calibration: np.ndarray) -> bytes:
    """The uint8 file of a candidate. calibration: uint8 (n, r, r, 3), for networks without ranges."""
    network, ranges = candidate.network, candidate.ranges
    if ranges is None:
        ranges = calibrate(network, calibration, params.calibration, hard_swish)
    return convert_integer(network, of_form(ranges, hard_swish), hard_swish, keep_float=params.keep_float)


def choose(
    candidates: Sequence[Candidate],
    params: ConversionParams,
    hard_swish: HardSwish,
    calibration: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    task: Task,
) -> tuple[Candidate, dict[str, float]]:
    """The candidate with the best uint8 file on labelled images, and the task's scores (0..1) by quantization.

    The first of equals wins. A single one is not measured. calibration: as in `integer_file`. images: uint8 (n, r, r, 3).
    labels: of these images.
    """
    if len(candidates) == 1:
        return candidates[0], {}
    scores: dict[str, float] = {}
    for candidate in candidates:
        content = integer_file(candidate, params, hard_swish, calibration)
        answers = answers_of(candidate.quantization, content, images, task)
        scores[candidate.quantization] = task.score(answers, labels)[task.score_name]
    return max(candidates, key=lambda candidate: scores[candidate.quantization]), scores
