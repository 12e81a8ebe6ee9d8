"""Measured accuracies of sampled sub-networks: the training data of the accuracy predictor."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from tqdm import tqdm

from ofa_core.nn.network import SuperNetwork
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.quantization.observe import fake_quantized
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.evaluation import Evaluator

CANDIDATES = 100
"""Random architectures drawn for each promising one."""
CALIBRATION_IMAGES = 200
"""Train images for the ranges of 8-bit activations. The same number as the default of an export."""


def sample_archs(space: Space, count: int, seed: int) -> list[Arch]:
    """`count` distinct architectures: the two extremes at every resolution, then random ones at the resolutions in turn.

    With independent choices nearly all networks would be of medium size, but searches also ask for small and large ones. So
    each architecture draws one tendency, uniform from smallest to largest, and all its choices follow it.
    """
    archs = [extreme for r in space.resolutions for extreme in (space.smallest(r), space.largest(r))]
    rng = np.random.default_rng([seed, 2])
    while len(archs) < count:
        [drawn] = _leaning(space, 1, rng)
        arch = replace(drawn, r=space.resolutions[len(archs) % len(space.resolutions)])
        if arch not in archs:
            archs.append(arch)
    return archs[:count]


def promising_archs(predictor: AccuracyPredictor, known: list[Arch], count: int, seed: int) -> list[Arch]:
    """Up to `count` architectures, none of them in `known`, with the highest predictions for their size.

    Many random architectures are sorted by MACs and cut into `count` equal parts. Each part gives the one with the highest
    prediction. These are the networks that a search will ask for. A predictor fitted to their accuracies as well learns where
    it was too optimistic.
    """
    space, rng = predictor.space, np.random.default_rng([seed, 3])
    drawn = [replace(arch, r=int(rng.choice(space.resolutions))) for arch in _leaning(space, count * CANDIDATES, rng)]
    candidates = sorted(set(drawn) - set(known), key=lambda arch: (space.cost(arch).macs, str(arch)))
    predicted = predictor.predict(candidates)
    parts = np.array_split(np.arange(len(candidates)), count)
    return [candidates[part[predicted[part].argmax()]] for part in parts if len(part)]


def _leaning(space: Space, count: int, rng: np.random.Generator) -> list[Arch]:
    """Random architectures of all sizes, at the space's largest resolution."""
    leaning = rng.random((count, 1))
    most = np.array([len(gene.choices) - 1 for gene in space.genes])
    return space.decode(rng.binomial(most, leaning), np.full(count, space.resolutions[-1]))


def collect(net: SuperNetwork, evaluator: Evaluator, archs: list[Arch], group: Group = ALONE) -> list[float]:
    """Validation top-1 (0..1) of each architecture, after recalibrating its batch norm statistics.

    group: processes that share the work. Each of them returns all values.
    """
    return _collect(evaluator.subnet_score, "accuracies", net, archs, group)


def collect_int8(
    net: SuperNetwork, evaluator: Evaluator, archs: list[Arch], count: int, group: Group = ALONE
) -> dict[int, float]:
    """As `collect` with 8 bits, for `count` of the architectures. Returns top-1 by index in `archs`.

    They are evenly spaced in the order of MACs. So they cover all sizes, from the smallest to the largest, and the share of
    promising ones stays the same.
    """
    macs = [net.space.cost(arch, net.num_classes).macs for arch in archs]
    order = sorted(range(len(archs)), key=lambda i: (macs[i], i))
    chosen = [order[round(place)] for place in np.linspace(0, len(archs) - 1, count)]
    measure = partial(int8_top1, evaluator)
    measured = _collect(measure, "int8 accuracies", net, [archs[i] for i in chosen], group)
    return dict(zip(chosen, measured, strict=True))


def int8_top1(evaluator: Evaluator, net: SuperNetwork, arch: Arch) -> float:
    """Validation top-1 (0..1) of a sub-network's full-integer file, computed with fake quantisation.

    Batch norm statistics are recalibrated. Activation ranges come from a subset of the same images.
    """
    net.set_active(arch)
    images = evaluator.calibrate(net, arch.r).spread(CALIBRATION_IMAGES)
    return evaluator.score(fake_quantized(net.extract(arch).eval(), images), arch.r)


def _collect(
    measure: Callable[[SuperNetwork, Arch], float], what: str, net: SuperNetwork, archs: list[Arch], group: Group
) -> list[float]:
    net.to(group.device)
    mine = tqdm(archs[group.rank :: group.size], desc=what, unit="net", mininterval=1, disable=not group.is_first)
    return group.gather([measure(net, arch) for arch in mine])
