"""White squares of two sizes to detect, and detectors that have learnt to: a task that takes seconds."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ofa_core.detection.anchors import SSDAnchors
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detectors.images import BoxImages
from ofa_core.detectors.sampling import sandwich
from ofa_core.images.boxes import BoxSplit
from ofa_core.nn.network import SuperNetwork, build_supernet
from ofa_core.space.detector import DetectorSpace, Heads
from ofa_core.space.registry import get_space
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.loop import Schedule, train
from ofa_core.training.objective import Objective, Weights
from ofa_core.training.params import Role
from tests.small_training import RARELY, SHARED

SIDE = 40
SPACE = DetectorSpace(
    get_space("ofa_small", 0.5, (32, 40)),
    Heads(kind="ssdlite", taps=("block_6.expand", "final_expand"), extra=(), anchors=(3, 3), widths=(16, 32)),
)
WEIGHTS: dict[Role, Weights] = {"largest": Weights(1.0, 0.0), "smallest": Weights(1.0, 1.0), "middle": Weights(1.0, 1.0)}
SETTINGS = PostprocessSettings(num_classes=2, score_threshold=0.05, iou_threshold=0.5, use_regular_nms=True)
RESOLUTIONS = SPACE.resolutions


def squares(count: int = 64) -> BoxSplit:
    """Black images with one white square each, in one of two sizes: its class. Every fifth image has none."""
    rng, images, boxes, labels = np.random.default_rng(0), np.zeros((count, SIDE, SIDE, 1), np.uint8), [], []
    for i in range(count):
        label = i % 2
        size = 10 + 14 * label
        y, x = rng.integers(SIDE - size, size=2)
        if i % 5:
            images[i, y : y + size, x : x + size] = 255
        kept = int(i % 5 > 0)
        boxes.append(np.array([[y, x, y + size, x + size]] * kept, np.float32).reshape(-1, 4) / SIDE)
        labels.append(np.array([label] * kept, np.int64))
    crowd = [np.zeros(len(found), bool) for found in boxes]
    return BoxSplit(images, boxes, labels, crowd, np.full((count, 2), SIDE), tuple(map(str, range(count))), ("small", "large"))


def anchors(resolution: int) -> np.ndarray:
    """Those of `SPACE`."""
    found = SSDAnchors(
        grids=SPACE.map_sides(resolution),
        min_scale=0.3,
        max_scale=0.6,
        aspect_ratios=(1.0, 0.8),
        reduce_lowest=False,
        clip=False,
    )
    return found.boxes()


class Trained(NamedTuple):
    """A super-network after three epochs; its losses; map of sub-networks on val before and after."""

    net: SuperNetwork
    val: BoxImages
    evaluator: Evaluator
    losses: list[float]
    before: float
    scores: dict[str, float]


@cache
def trained() -> Trained:
    """Trained by the sandwich rule, with the largest as the teacher."""
    train_images, val = (BoxImages(squares(count), anchors, RESOLUTIONS, SETTINGS) for count in (320, 40))
    torch.manual_seed(0)
    net = build_supernet(SPACE, 2)

    objective = Objective(weights=WEIGHTS, teacher="largest", mean=True)
    shared = replace(SHARED, batch_size=16, label_smoothing=0.0, dropout=0.0, max_shift=0.0)
    evaluator = Evaluator(train_images, val, 64, seed=0)
    before = evaluator.subnet_score(net, SPACE.largest(40))
    schedule = Schedule(epochs=3, warmup_epochs=0.2, lr=0.05)
    with tempfile.TemporaryDirectory() as work:
        progress = train(
            net, train_images, sandwich(net), objective, schedule, shared, RARELY, phase="squares", seed=0, work=Path(work)
        )
    losses = [row["loss"] for row in progress.history]
    scores = evaluator.subnet_scores(net, {"largest": SPACE.largest(40), "smallest": SPACE.smallest(32)})
    return Trained(net, val, evaluator, losses, before, scores)
