"""Time of detectors on images: the operator for detections takes the longer, the more of an image passes its threshold."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert, converter_of
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detector_export.operator import append_postprocess
from ofa_core.runtime.on_images import time_detector, time_on_images

SIDE = 24
SETTINGS = PostprocessSettings(num_classes=3, score_threshold=0.5, iou_threshold=0.5, use_regular_nms=True)


class Mirror(tf.Module):
    """A detector whose scores are its pixels: one box for each, three classes."""

    def __init__(self) -> None:
        super().__init__(name="mirror")

        def forward(image: Any) -> dict[str, Any]:
            scores = tf.reshape(image, (1, -1, 3))
            return {"boxes": tf.concat([scores, scores[..., :1]], axis=-1) - 1.0, "classes": scores * 1.0}

        shape = tf.TensorSpec((1, SIDE, SIDE, 3), name="image")
        self.function = tf.function(forward, input_signature=[shape], autograph=False)
        self.concrete = self.function.get_concrete_function()


@pytest.fixture(scope="module")
def network() -> bytes:
    return convert(converter_of(Mirror()))


def detector(network: bytes, **changes: Any) -> bytes:
    places = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    y, x = np.meshgrid(places, places, indexing="ij")
    size = np.full(SIDE**2, 1 / SIDE, np.float32)
    return append_postprocess(network, np.stack([y.ravel(), x.ravel(), size, size], axis=1), replace(SETTINGS, **changes))


def pixels(share: float, images: int = 4) -> np.ndarray:
    """Images in which a share of the pixels is white."""
    white = np.random.default_rng(0).random((images, SIDE, SIDE, 1)) < share
    return np.repeat(white, 3, axis=3).astype(np.float32)


def test_the_operator_takes_longer_where_it_finds_more(network: bytes) -> None:
    whole = detector(network)
    empty, full = (time_detector(whole, network, pixels(share), rounds=3) for share in (0, 0.9))
    for found in (empty, full):
        assert found.latency_ms > found.network_ms > 0
        assert found.postprocess_ms == pytest.approx(found.latency_ms - found.network_ms, abs=1e-6)
    assert full.postprocess_ms > 3 * empty.postprocess_ms
    assert full.network_ms < 2 * empty.network_ms


def test_the_time_is_a_mean_over_images(network: bytes) -> None:
    files = {"a": detector(network)}
    empty, full = pixels(0), pixels(0.9)
    low, high, both = (time_on_images(files, images)["a"] for images in (empty, full, np.concatenate([empty, full])))
    assert 1.3 * low < both < high / 1.3


def test_the_threshold_counts(network: bytes) -> None:
    images = 0.4 * pixels(0.9)
    found = [time_detector(detector(network, score_threshold=t), network, images, rounds=3) for t in (0.3, 0.5)]
    assert found[0].postprocess_ms > 3 * found[1].postprocess_ms


@pytest.mark.parametrize("images", [
    np.zeros((0, SIDE, SIDE, 3), np.float32), np.zeros((2, SIDE, SIDE, 3), np.uint8), np.zeros((2, SIDE, 8, 3), np.float32)
])  # fmt: skip
def test_images_that_do_not_fit(network: bytes, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^images: .*; the file takes float32 \(n, 24, 24, 3\), n from 1$"):
        time_on_images({"a": network}, images)
