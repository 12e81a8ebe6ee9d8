"""Times TFLite files on given images: those of detectors, whose last operator takes the longer the more it finds."""

from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.runtime.host import UNDISTURBED, clock_of
from ofa_core.runtime.tflite import make_interpreter


class DetectorTime(NamedTuple):
    """Milliseconds for an image, as a mean over images. latency_ms: of the whole file. network_ms: without the operator that
    makes detections of boxes and scores. postprocess_ms: the difference."""

    latency_ms: float
    network_ms: float
    postprocess_ms: float


def time_detector(
    detector: bytes, network: bytes, images: np.ndarray, threads: int = 1, rounds: int = 5, passes: int = 5
) -> DetectorTime:
    """The time of a detector on images, with and without its operator, in turns.

    detector: the file with TFLite_Detection_PostProcess. network: the same before the operator was appended. images, threads,
    rounds, passes: as in `time_on_images`, which raises.
    """
    found = time_on_images({"detector": detector, "network": network}, images, threads, rounds, passes)
    whole, before = found["detector"], found["network"]
    return DetectorTime(whole, before, round(whole - before, 6))


def time_on_images(
    contents: Mapping[str, bytes], images: np.ndarray, threads: int = 1, rounds: int = 5, passes: int = 5
) -> dict[str, float]:
    """Milliseconds of several TFLite files by name: the mean over images, and of these the median over rounds.

    images: (n, h, w, c), n from 1, of the type that the files take: uint8 pixels, or normalised float32 ones.
    threads: of the interpreter. rounds: each runs every file in a fresh interpreter, as `host.time_in_turns` does.
    passes: over all images in each round. An image's time is that of its undisturbed passes.

    Raises InputError for images that a file does not take, or none.
    """
    found = [{name: _mean(content, images, threads, passes) for name, content in contents.items()} for _ in range(rounds)]
    return {name: round(median(times[name] for times in found), 6) for name in contents}


def _mean(content: bytes, images: np.ndarray, threads: int, passes: int) -> float:
    """Milliseconds for an image with a fresh interpreter."""
    interpreter = make_interpreter(content, threads)
    [details] = interpreter.get_input_details()
    shape = tuple(int(n) for n in details["shape"][1:])
    if not len(images) or images.shape[1:] != shape or images.dtype != details["dtype"]:
        wanted = f"{np.dtype(details['dtype'])} (n, {str(shape)[1:]}"
        raise InputError(f"images: {images.dtype} {images.shape}; the file takes {wanted}, n from 1")
    clock, times = clock_of(threads), np.zeros((passes + 1, len(images)))
    for row in times:
        for i, image in enumerate(images):
            interpreter.set_tensor(details["index"], image[None])
            before = clock()
            interpreter.invoke()
            row[i] = clock() - before
    # The first pass is a warm-up.
    return float(np.percentile(times[1:], UNDISTURBED, axis=0).mean()) / 1e6
