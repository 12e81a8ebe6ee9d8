"""Progressive shrinking: what a phase samples, and how its starting weights are made ready.

Once-for-All, section 3.4: elastic kernel size first, then depth, then width; each phase starts from the one before and keeps
sampling everything that was elastic already.
"""

from collections.abc import Callable

import numpy as np

from ofa_core.nn.network import SuperNetwork
from ofa_core.nn.sorting import sort_channels
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.training.loop import Sampler
from ofa_core.training.params import FIELDS, PhaseParams

ArchSampler = Callable[[np.random.Generator, int], list[Arch]]
"""(generator, resolution) -> the sub-networks of a step."""


def full_choices(space: Space) -> dict[str, list[int]]:
    """What the full network supports, by phase parameter: the last choice of everything."""
    return {FIELDS[gene.field]: [int(max(gene.choices))] for gene in reversed(space.genes)}


def phase_choices(phase: PhaseParams) -> dict[str, list[int]]:
    """What a network supports after a phase, by phase parameter."""
    return {field: list(getattr(phase, field)) for field in FIELDS.values()}


def phase_corners(space: Space, phase: PhaseParams) -> dict[str, Arch]:
    """The smallest and the largest sub-network that a phase samples, by these names."""
    corners = {}
    for name, pick in (("smallest", 0), ("largest", -1)):
        code = np.array([[choices[pick] for choices in phase.choices(space)]])
        [corners[name]] = space.decode(code, np.array([space.resolutions[-1]]))
    return corners


def full_sampler(space: Space) -> ArchSampler:
    """Always the full network, at the step's resolution."""
    return lambda rng, resolution: [space.largest(resolution)]


def phase_sampler(space: Space, phase: PhaseParams) -> ArchSampler:
    """Random sub-networks within a phase's choices, uniform and independent for every gene; after the phase's largest and
    smallest ones where it samples by the sandwich rule.

    Raises ValueError that names the parameter when a choice is not of the space, or none is left for a gene.
    """
    allowed = phase.choices(space)

    extremes = [[choices[pick] for choices in allowed] for pick in (-1, 0)] if phase.sampling == "sandwich" else []

    def sample(rng: np.random.Generator, resolution: int) -> list[Arch]:
        drawn = [[rng.choice(choices) for choices in allowed] for _ in range(phase.subnets - len(extremes))]
        return space.decode(np.array(extremes + drawn), np.full(phase.subnets, resolution))

    return sample


def in_supernet(net: SuperNetwork, sample: ArchSampler) -> Sampler:
    """What `train` takes: the layers of the sampled sub-networks of a super-network."""
    return lambda rng, resolution: [net.space.layers(arch, net.num_classes) for arch in sample(rng, resolution)]


def sort_for_phase(net: SuperNetwork, phase: PhaseParams, supported_expand_ratios: list[int]) -> None:
    """Sorts channels by importance before a phase that adds narrower widths, so that these keep the most important ones."""
    if set(phase.expand_ratios) - set(supported_expand_ratios):
        sort_channels(net, supported_expand_ratios)
