"""Sub-networks of a step of a detector's training."""

from dataclasses import replace

import numpy as np

from ofa_core.nn.network import SuperNetwork
from ofa_core.training.loop import Sampler
from ofa_core.training.objective import Objective, Subnet, Weights
from ofa_core.training.params import Role


def sandwich(net: SuperNetwork, middle: int = 1) -> Sampler:
    """Draws the largest, the smallest and `middle` random sub-networks (BigNAS, https://arxiv.org/abs/2003.11142, section 3.1).

    All at one random resolution: a teacher can only say something about anchors that its pupils have too.
    """
    space = net.space

    def sample(rng: np.random.Generator) -> list[Subnet]:
        resolution = int(rng.choice(space.resolutions))
        drawn = [replace(space.sample(rng), r=resolution) for _ in range(middle)]
        found = [Subnet(space.layers(space.largest(resolution), net.num_classes), "largest")]
        found.append(Subnet(space.layers(space.smallest(resolution), net.num_classes), "smallest"))
        return found + [Subnet(space.layers(arch, net.num_classes), "middle") for arch in drawn]

    return sample


def taught_by_largest(middle: int = 1) -> Objective:
    """The objective for `sandwich`: the largest learns from boxes, and teaches the others, which learn from both.

    Gradients are averaged. Classification's small networks learn from the teacher alone in BigNAS; a detector's also need the
    boxes, for a teacher's sigmoids say little where it is unsure.
    """
    weights: dict[Role, Weights] = {"largest": Weights(1, 0), "smallest": Weights(1, 1)}
    if middle:
        weights["middle"] = Weights(1, 1)
    return Objective(weights=weights, teacher="largest", mean=True)
