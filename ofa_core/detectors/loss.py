"""SSD's loss, and the distillation of a detector: what the outputs of a step's anchors are compared with.

SSD, section 2.2 (Liu et al., 2016, https://arxiv.org/abs/1512.02325), in the form of TensorFlow's ssd_mobilenet_v2
configurations: sigmoids without background, smooth L1, three hard negatives for each match, divided by the number of matches.
TensorFlow's miner also drops negatives that overlap by 0.99; this one does not.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ofa_core.detection.matching import UNMATCHED

NEGATIVES_PER_POSITIVE = 3
"""`max_negatives_per_positive` of TensorFlow's configurations."""
LEAST_NEGATIVES = 3
"""`min_negatives_per_image` there."""
FOCUS = 2.0
"""Exponent by which the distance from the teacher weighs an anchor's loss: beta of quality focal loss (Li et al., 2020,
https://arxiv.org/abs/2006.04388, section 3.1). Without it, the many anchors of the background would drown the others."""


class Targets(NamedTuple):
    """What anchors are to predict. classes: int64 (B, A), `detection.matching.UNMATCHED` or IGNORED without a box.
    codes: float32 (B, A, 4), encodings of their boxes; anything without a box."""

    classes: Tensor
    codes: Tensor


class SoftTargets(NamedTuple):
    """A teacher's outputs. scores: (B, A, C), 0..1. codes: (B, A, 4)."""

    scores: Tensor
    codes: Tensor


def ssd_loss(codes: Tensor, logits: Tensor, targets: Targets, label_smoothing: float = 0.0) -> Tensor:
    """The loss of a batch, a scalar: localisation of the matched anchors plus classification of these and of hard negatives.

    codes: (B, A, 4). logits: (B, A, C). label_smoothing: moves the two values of a target towards each other by this share.
    """
    matched = targets.classes >= 0  # (B, A)
    count = matched.sum()
    wanted = F.one_hot(targets.classes.clamp(min=0), logits.shape[-1]) * matched[..., None]
    wanted = wanted.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    by_anchor = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(-1)  # (B, A)
    kept = matched | hard_negatives(by_anchor.detach(), targets.classes)
    location = F.smooth_l1_loss(codes, targets.codes, reduction="none").sum(-1)
    return ((by_anchor * kept).sum() + (location * matched).sum()) / count.clamp(min=1)


def hard_negatives(losses: Tensor, classes: Tensor) -> Tensor:
    """Which anchors without a box count, bool (B, A): in each image those of the largest losses (B, A), three for a match."""
    free = classes == UNMATCHED
    wanted = (NEGATIVES_PER_POSITIVE * (classes >= 0).sum(1)).clamp(min=LEAST_NEGATIVES)  # (B,)
    rank = losses.masked_fill(~free, -1.0).argsort(dim=1, descending=True, stable=True).argsort(1)
    return free & (rank < wanted[:, None])


def soft_ssd_loss(codes: Tensor, logits: Tensor, soft: SoftTargets) -> Tensor:
    """The distillation loss of a batch, a scalar: all anchors, weighted by what the teacher sees there.

    codes: (B, A, 4). logits: (B, A, C). Divided by the sum of the teacher's best scores, its number of matches.
    """
    seen = soft.scores.amax(-1)  # (B, A)
    distance = (logits.detach().sigmoid() - soft.scores).abs() ** FOCUS
    classes = F.binary_cross_entropy_with_logits(logits, soft.scores, reduction="none") * distance
    location = F.smooth_l1_loss(codes, soft.codes, reduction="none").sum(-1) * seen
    return (classes.sum() + location.sum()) / seen.sum().clamp(min=1)
