"""Times a step of quantisation-aware training against a step in float: forward and backward pass of a searched network.

    python -m benchmarks.aware_step build/specialized/fast/post.safetensors

Prints medians of CPU time on one thread. The networks take turns. Images are random.
"""

import argparse
import copy
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from ofa_core.nn.weights import load_network
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.observe import observe
from ofa_core.training.evaluation import use_threads


def main() -> None:
    """Prints milliseconds and the ratio to float."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds, after one warm-up")
    args = parser.parse_args()
    use_threads(1)
    net, arch = load_network(args.network)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(args.batch_size, 3, arch.r, arch.r, generator=generator) * 2 - 1
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch_size) % net.active[-1].out
    ranges = observe(net, [x])
    modules = {
        "float": copy.deepcopy(net).train(),
        "observed": FakeQuantized(copy.deepcopy(net), ranges).train(),
        "learned": FakeQuantized(copy.deepcopy(net), ranges, learn=True).train(),
    }
    times: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(args.rounds + 1):
        for name, module in modules.items():
            started = time.process_time()
            F.cross_entropy(module(x), labels).backward()
            times[name].append(time.process_time() - started)
    milliseconds = {name: 1000 * median(rounds[1:]) for name, rounds in times.items()}
    for name, value in milliseconds.items():
        print(f"{name:9} {value:8.1f} ms {value / milliseconds['float']:6.2f}")


if __name__ == "__main__":
    main()
