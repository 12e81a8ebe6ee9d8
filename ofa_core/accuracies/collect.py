"""Measured accuracies of sub-networks: the training data of the accuracy predictor."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from tqdm import tqdm

from ofa_core.accuracies.journal import Journal, Values
from ofa_core.nn.network import SuperNetwork
from ofa_core.quantization.observe import fake_quantized
from ofa_core.space.arch import Arch
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.evaluation import Evaluator

CALIBRATION_IMAGES = 200
"""Train images for the ranges of 8-bit activations. The same number as the default of an export."""


def collect(net: SuperNetwork, evaluator: Evaluator, archs: list[Arch], journal: Journal, group: Group = ALONE) -> list[Values]:
    """top1 (0..1) and cross_entropy (nats per image) on val of each architecture, with its own batch norm statistics.

    journal: has the networks that were measured before, and gets the others one by one.
    group: processes that share the work. Each of them returns all values.
    """
    return _collect(evaluator.subnet_measures, "accuracies", net, archs, journal, group)


def collect_int8(
    net: SuperNetwork, evaluator: Evaluator, archs: list[Arch], journal: Journal, group: Group = ALONE
) -> list[float]:
    """Top-1 (0..1) on val of each architecture with 8 bits. Arguments as for `collect`."""

    def measure(net: SuperNetwork, arch: Arch) -> Values:
        return {"int8_top1": int8_top1(evaluator, net, arch)}

    return [values["int8_top1"] for values in _collect(measure, "int8 accuracies", net, archs, journal, group)]


def spread(costs: np.ndarray, count: int) -> list[int]:
    """Indices of `count` of n networks, evenly spaced in the order of their costs (n,), the cheapest and the dearest included.

    So they cover all sizes, and the share of promising ones stays the same.
    """
    order = np.argsort(costs, kind="stable")
    return [int(order[round(place)]) for place in np.linspace(0, len(costs) - 1, count)]


def int8_top1(evaluator: Evaluator, net: SuperNetwork, arch: Arch) -> float:
    """Validation top-1 (0..1) of a sub-network's full-integer file, computed with fake quantisation.

    Batch norm statistics are recalibrated. Activation ranges come from a subset of the same images.
    """
    net.set_active(arch)
    images = evaluator.calibrate(net, arch.r).spread(CALIBRATION_IMAGES)
    return evaluator.score(fake_quantized(net.extract(arch).eval(), images), arch.r)


def _collect(
    measure: Callable[[SuperNetwork, Arch], Mapping[str, float]],
    what: str,
    net: SuperNetwork,
    archs: list[Arch],
    journal: Journal,
    group: Group,
) -> list[Values]:
    """Values in the order of `archs`. One resolution is measured after the other, so that images are decoded once for each."""
    net.to(group.device)
    order = sorted(range(len(archs)), key=lambda i: archs[i].r)
    mine = tqdm(order[group.rank :: group.size], desc=what, unit="net", mininterval=1, disable=not group.is_first)
    values = group.gather([journal.measured(what, archs[i], partial(measure, net, archs[i])) for i in mine])
    found = dict(zip(order, values, strict=True))
    return [found[i] for i in range(len(archs))]
