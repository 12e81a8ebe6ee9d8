"""Times evaluation with batch norm folded into the convolutions against evaluation without.

    python -m benchmarks.evaluation [--space ofa_small] [--resolution 28] [--images 500] [--threads 1] [--rounds 7]

One forward pass of the smallest and of the largest sub-network; folding counts. Rounds alternate. It prints the shortest CPU
times.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ofa_core.nn import build_supernet
from ofa_core.nn.folding import FoldedNetwork
from ofa_core.space.registry import get_space


@torch.inference_mode()
def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """CPU time of a forward pass."""
    start = time.process_time()
    run(x)
    return time.process_time() - start


def main() -> None:
    """Prints one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa_small")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    space = get_space(args.space, resolutions=(args.resolution,))
    net = build_supernet(space, 10).eval().to(memory_format=torch.channels_last)
    x = torch.randn(args.images, 3, args.resolution, args.resolution).contiguous(memory_format=torch.channels_last)
    for name, arch in (("smallest", space.smallest()), ("largest", space.largest())):
        net.set_active(arch)
        rounds = [(seconds(net, x), seconds(lambda images: FoldedNetwork(net)(images), x)) for _ in range(args.rounds)]
        plain, folded = (1000 * min(times) for times in zip(*rounds, strict=True))
        print(f"{name}: {plain:.0f} ms, folded {folded:.0f} ms")


if __name__ == "__main__":
    main()
