"""Sub-networks of a step of a detector's training."""

from dataclasses import replace

import numpy as np

from ofa_core.nn.network import SuperNetwork
from ofa_core.training.loop import Sampler
from ofa_core.training.objective import Subnet


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
