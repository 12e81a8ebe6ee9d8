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
"""Random architectures for each promising one."""
CALIBRATION_IMAGES = 200
"""Train images that give the ranges of 8-bit activations, as many as an export takes by default."""


def sample_archs(space: Space, count: int, seed: int) -> list[Arch]:
    """`count` different architectures: the two extremes at every resolution, then random ones, resolutions in turn.

    Independent choices would nearly all be of middling size, but small and large networks are what searches ask for. So every
    architecture has a leaning of its own, uniform from the smallest to the largest, that all its choices follow.
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
    """`count` architectures, none of them known, that promise most for their size: what searches will ask the predictor for.

    Of many random ones, ordered by MACs and cut into `count` equal parts, the one with the highest prediction in each part.
    A predictor that is fitted to their accuracies, too, has learnt where it was too hopeful.
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
    """Validation top-1 (0..1) of each architecture, with batch norm statistics of its own.

    group: the processes that deal the architectures out among them; each of them returns all values.
    """
    return _collect(evaluator.subnet_score, "accuracies", net, archs, group)


def collect_int8(
    net: SuperNetwork, evaluator: Evaluator, archs: list[Arch], count: int, group: Group = ALONE
) -> dict[int, float]:
    """The same with 8 bits, by place in `archs`, of `count` of them: evenly spaced in the order of their MACs.

    All sizes are among them, the smallest and the largest too, and promising ones as many as in all.
    """
    macs = [net.space.cost(arch, net.num_classes).macs for arch in archs]
    order = sorted(range(len(archs)), key=lambda i: (macs[i], i))
    chosen = [order[round(place)] for place in np.linspace(0, len(archs) - 1, count)]
    measure = partial(int8_top1, evaluator)
    measured = _collect(measure, "int8 accuracies", net, [archs[i] for i in chosen], group)
    return dict(zip(chosen, measured, strict=True))


def int8_top1(evaluator: Evaluator, net: SuperNetwork, arch: Arch) -> float:
    """Validation top-1 (0..1) of a sub-network's full-integer file, computed with fake quantisation.

    It has batch norm statistics of its own, and activation ranges from some of the images that gave them.
    """
    net.set_active(arch)
    x = evaluator.calibrate(net, arch.r)  # (n, 3, r, r)
    places = np.linspace(0, len(x) - 1, min(CALIBRATION_IMAGES, len(x))).astype(int)
    return evaluator.score(fake_quantized(net.extract(arch).eval(), [x[places]]), arch.r)


def _collect(
    measure: Callable[[SuperNetwork, Arch], float], what: str, net: SuperNetwork, archs: list[Arch], group: Group
) -> list[float]:
    net.to(group.device)
    mine = tqdm(archs[group.rank :: group.size], desc=what, unit="net", mininterval=1, disable=not group.is_first)
    return group.gather([measure(net, arch) for arch in mine])
