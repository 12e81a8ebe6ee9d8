"""Times the exact count of MACs and parameters of many random architectures.

    python -m benchmarks.costs [--space ofa_mbv3] [--archs 100000] [--repeats 5]

Times `count_costs` on existing `Arch` objects, including its tables of layer costs. Prints the median of the repeats.
"""

import argparse
import statistics
import time

import numpy as np

from ofa_core.space.layer_sums import count_costs
from ofa_core.space.registry import SPACES, get_space


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description="time the vectorised cost of random architectures")
    parser.add_argument("--space", choices=SPACES, default="ofa_mbv3")
    parser.add_argument("--archs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    space, rng = get_space(args.space), np.random.default_rng(0)
    codes = np.stack([rng.integers(len(gene.choices), size=args.archs) for gene in space.genes], axis=1)
    archs = space.decode(codes, rng.choice(space.resolutions, args.archs))
    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        costs = count_costs(space, archs)
        seconds.append(time.perf_counter() - start)
    print(f"{args.space}: {args.archs} architectures, {costs.macs.min() / 1e6:.0f} to {costs.macs.max() / 1e6:.0f} M MACs")
    print(f"median {statistics.median(seconds):.3f} s, best {min(seconds):.3f} s of {args.repeats}")


if __name__ == "__main__":
    main()
