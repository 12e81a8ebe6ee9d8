"""Progressive shrinking: what a phase samples, and how its starting weights are prepared.

Once-for-All, section 3.4: first elastic kernel size, then depth, then width. Each phase starts from the previous one and keeps
sampling everything that is already elastic.
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
"""Maps (generator, resolution) to the sub-networks of a step."""


def full_choices(space: Space) -> dict[str, list[int]]:
    """The choices of the full network, by phase parameter: the last choice of everything."""
    return {FIELDS[gene.field]: [int(max(gene.choices))] for gene in reversed(space.genes)}


def phase_choices(phase: PhaseParams) -> dict[str, list[int]]:
    """The choices that a network supports after a phase, by phase parameter."""
    return {field: list(getattr(phase, field)) for field in FIELDS.values()}


def phase_corners(space: Space, phase: PhaseParams) -> dict[str, Arch]:
    """The sub-networks `smallest` and `largest` of a phase, by name."""
    corners = {}
    for name, pick in (("smallest", 0), ("largest", -1)):
        code = np.array([[choices[pick] for choices in phase.choices(space)]])
        [corners[name]] = space.decode(code, np.array([space.resolutions[-1]]))
    return corners


def full_sampler(space: Space) -> ArchSampler:
    """A sampler that always gives the full network, at the step's resolution."""
    return lambda rng, resolution: [space.largest(resolution)]


def phase_sampler(space: Space, phase: PhaseParams) -> ArchSampler:
    """A sampler of random sub-networks within a phase's choices, uniform and independent for every gene.

    With the sandwich rule, the phase's largest and smallest sub-networks come first.
    Raises ValueError, naming the parameter, if a choice is not in the space or a gene has no choice left.
    """
    allowed = phase.choices(space)

    extremes = [[choices[pick] for choices in allowed] for pick in (-1, 0)] if phase.sampling == "sandwich" else []

    def sample(rng: np.random.Generator, resolution: int) -> list[Arch]:
        drawn = [[rng.choice(choices) for choices in allowed] for _ in range(phase.subnets - len(extremes))]
        return space.decode(np.array(extremes + drawn), np.full(phase.subnets, resolution))

    return sample


def in_supernet(net: SuperNetwork, sample: ArchSampler) -> Sampler:
    """A sampler for `train`: gives the layers of the sampled sub-networks of a super-network."""
    return lambda rng, resolution: [net.space.layers(arch, net.num_classes) for arch in sample(rng, resolution)]


def sort_for_phase(net: SuperNetwork, phase: PhaseParams, supported_expand_ratios: list[int]) -> None:
    """Sorts channels by importance before a phase that adds narrower widths. These then keep the most important channels."""
    if set(phase.expand_ratios) - set(supported_expand_ratios):
        sort_channels(net, supported_expand_ratios)
