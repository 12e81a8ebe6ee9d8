"""Progressive shrinking: what a phase samples, and how its starting weights are prepared.

Once-for-All, section 3.4: first elastic kernel size, then depth, then width. Each phase starts from the previous one and keeps
sampling everything that is already elastic. One phase that samples everything at once is the way of BigNAS.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ofa_core.nn.network import Network, SuperNetwork
from ofa_core.nn.sorting import sort_channels
from ofa_core.nn.weights import read_description
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layer_sums import LayerSum
from ofa_core.space.registry import space_of
from ofa_core.training.loop import Sampler
from ofa_core.training.objective import Objective, Subnet, Weights
from ofa_core.training.params import PhaseParams, Role, TrainingParams

POOL = 20_000
"""Random sub-networks among which those of a latency are looked up."""
NEAR = 50
"""Sub-networks of the pool nearest to a latency, one of which is taken."""

Latencies = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Milliseconds (n,) of codes (n, genes) at resolutions (n,)."""
Draw = Callable[[np.random.Generator], Arch]


def corners(part: Space) -> dict[str, Arch]:
    """The smallest, the middle (of every choice) and the largest sub-network by role, at the largest resolution."""
    codes = np.array([[(len(gene.choices) - 1) // 2 for gene in part.genes]])
    [middle] = part.decode(codes, np.array([part.resolutions[-1]]))
    return {"smallest": part.smallest(part.resolutions[-1]), "middle": middle, "largest": part.largest()}


def full_part(space: Space) -> Space:
    """The part of a space that has only the full network."""
    return space.with_choices(
        {field: [[gene.choices[-1]] for gene in space.genes if gene.field == field] for field in {g.field for g in space.genes}}
    )


def trained_part(start: Path, space: Space) -> Space:
    """The part of a space that the weights in a file were trained for: of a stand-alone network, the full network alone."""
    description = read_description(start)
    return full_part(space) if {"arch", "layers"} & description.keys() else space_of(description["space"])


def check_untrained(start: Path, num_classes: int) -> None:
    """Raises InputError, naming the key, if weights that stay as they are have the classifier of other classes."""
    if (found := read_description(start).get("num_classes")) != num_classes:
        raise InputError(
            f"train_supernet.epochs: 0 keeps a classifier of {found} classes, but the images have {num_classes}; "
            "train_supernet.linear: true fits a new one"
        )


def full_sampler(net: SuperNetwork) -> Sampler:
    """A sampler that always gives the full network, at a random resolution."""

    def sample(rng: np.random.Generator) -> list[Subnet]:
        return [Subnet(net.space.layers(net.space.largest(int(rng.choice(net.space.resolutions))), net.num_classes))]

    return sample


def phase_sampler(net: SuperNetwork, part: Space, phase: PhaseParams, draw: Draw) -> Sampler:
    """A sampler of the sub-networks of a phase's steps, the largest first. part: `phase.part(space)`. draw: the middle ones."""
    roles: list[Role] = ["largest", "smallest", "middle"]
    counts = {role: phase.roles[role].subnets for role in roles if role in phase.roles}

    def arch(role: Role, rng: np.random.Generator) -> Arch:
        if role == "middle":
            return draw(rng)
        resolution = int(rng.choice(part.resolutions))
        return part.largest(resolution) if role == "largest" else part.smallest(resolution)

    def sample(rng: np.random.Generator) -> list[Subnet]:
        drawn = [(role, arch(role, rng)) for role, count in counts.items() for _ in range(count)]
        return [Subnet(net.space.layers(found, net.num_classes), role) for role, found in drawn]

    return sample


def phase_draw(part: Space, phase: PhaseParams, latencies: Latencies | None, where: str, seed: int) -> Draw:
    """How a phase draws middle sub-networks. latencies: for draw: latency. where: the phase's key, for errors (InputError)."""
    if phase.draw == "uniform":
        return part.sample
    assert latencies is not None
    try:
        return latency_draw(part, latencies, phase.latency_ms, seed)
    except InputError as error:
        raise InputError(f"{where}.{error}") from None


def read_latencies(path: Path, part: Space, num_classes: int) -> Latencies:
    """Latencies of a space's networks as sums of the times of their layers, from a table that build_latency_table wrote.

    Its corrections for whole networks are left out: they hardly change which network is near a latency.
    Raises InputError, one line, for another file, and for a layer that it lacks.
    """
    try:
        layers = files.read_json(path)["layers"]
        sums = LayerSum(part, lambda layer: layers[layer.key]["median_ms"], num_classes)
        for resolution in part.resolutions:
            sums.tables(resolution)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: {error.args[0]}: not in this latency table") from None
    return sums.of_codes


def latency_draw(part: Space, latencies: Latencies, bounds: tuple[float, float] | None, seed: int) -> Draw:
    """Draws sub-networks whose latencies are log-uniform within bounds (in milliseconds; None: all that there are).

    Uniform choices give hardly any network that is fast or slow. AttentiveNAS (https://arxiv.org/abs/2011.09011, section 4)
    draws a cost first, then a sub-network of this cost. Here it is one of those nearest to it in a pool of random ones of all
    sizes. Raises InputError, naming the key, if no network of the pool is within the bounds.
    """
    rng = np.random.default_rng([seed, 4])
    codes, resolutions = part.leaning(POOL, rng), rng.choice(part.resolutions, POOL)
    logs = np.log(latencies(codes, resolutions))
    order = np.argsort(logs, kind="stable")
    low, high = (logs[order[0]], logs[order[-1]]) if bounds is None else np.log(bounds)
    order = order[(logs[order] >= low) & (logs[order] <= high)]
    if not len(order):
        reachable = " to ".join(f"{value:.4g}" for value in np.exp([logs.min(), logs.max()]))
        raise InputError(f"latency_ms: no sub-network within {bounds} ms; there are {reachable}")
    codes, resolutions, logs = codes[order], resolutions[order], logs[order]

    def draw(rng: np.random.Generator) -> Arch:
        place = int(np.searchsorted(logs, rng.uniform(low, high))) + int(rng.integers(-NEAR // 2, NEAR // 2))
        place = min(max(place, 0), len(logs) - 1)
        return part.decode(codes[place : place + 1], resolutions[place : place + 1])[0]

    return draw


def phase_objective(phase: PhaseParams, shared: TrainingParams, full: Network) -> Objective:
    """What a phase's sub-networks learn from. full: the full network, which may be the teacher."""
    return Objective(
        weights={role: Weights(params.labels, params.soft) for role, params in phase.roles.items()},
        teacher={"none": None, "full": full, "largest": "largest"}[phase.teacher],
        mean=phase.gradients == "mean",
        label_smoothing=shared.label_smoothing,
        dropout=shared.dropout,
        regularised=frozenset(phase.roles if phase.regularise == "all" else {"largest"}),
    )


def sort_for_phase(net: SuperNetwork, part: Space, supports: Space) -> None:
    """Sorts channels by importance before a phase that adds narrower blocks. These then keep the most important channels.

    part: what the phase samples. supports: what is trained already.
    """
    narrower = [
        set(new.choices) - set(old.choices) for new, old in zip(part.genes, supports.genes, strict=True) if new.field == "e"
    ]
    if any(narrower):
        sort_channels(net, supports)
