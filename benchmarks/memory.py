"""Times a training step, batch norm statistics and a forward pass with freed memory kept and with glibc's defaults.

    python -m benchmarks.memory [--space ofa_lite] [--resolution 128] [--batch 32] [--images 256] [--rounds 5]

The step is the largest sub-network's, the rest the middle one's on `--images`. Each setting has its own process, for it cannot
be taken back; their rounds alternate. It prints the median seconds of a round, and the peak memory of each process.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

from ofa_core.nn import build_supernet
from ofa_core.nn.folding import FoldedNetwork
from ofa_core.nn.recalibration import recalibrate
from ofa_core.run.memory import keep_freed_memory
from ofa_core.space.registry import get_space
from ofa_core.training.shrinking import corners

CLASSES = 10
NAMES = ("step", "statistics", "forward")


def work(args: argparse.Namespace) -> None:
    """A process: a round for each line that it reads, answered by a line of seconds; at the end its peak in MB."""
    if args.kept:
        keep_freed_memory()
    space = get_space(args.space, resolutions=(args.resolution,))
    net = build_supernet(space, CLASSES).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = (args.images, 3, args.resolution, args.resolution)
    x = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    batch, labels = x[: args.batch].clone(memory_format=torch.channels_last), torch.arange(args.batch) % CLASSES

    def step() -> None:
        net.set_active(space.largest())
        net.train().zero_grad(set_to_none=True)
        F.cross_entropy(net(batch), labels).backward()

    def statistics() -> None:
        net.set_active(corners(space)["middle"])
        recalibrate(net, [x])

    @torch.inference_mode()
    def forward() -> None:
        FoldedNetwork(net.eval())(x)

    runs: tuple[Callable[[], None], ...] = (step, statistics, forward)
    for _ in sys.stdin:
        times = []
        for run in runs:
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        print(*times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


def main() -> None:
    """Prints one line for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="ofa_lite")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--worker"]
    workers = [
        subprocess.Popen([*command, *kept], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for kept in ([], ["--kept"])
    ]
    rounds: list[list[list[float]]] = [[], []]
    for number in range(args.rounds + 1):
        for worker, found in zip(workers, rounds, strict=True):
            assert worker.stdin is not None
            assert worker.stdout is not None
            print(number, file=worker.stdin, flush=True)
            found.append([float(value) for value in worker.stdout.readline().split()])
    for worker in workers:
        worker.communicate()
    usual, kept = ([median(column) for column in zip(*found[1:], strict=True)] for found in rounds)  # the first warms up
    for name, before, after in zip(NAMES, usual, kept, strict=False):
        print(f"{name:10} default {before:.3f} s, kept {after:.3f} s, ratio {before / after:.2f}")
    print(f"peak       default {usual[-1]:.0f} MB, kept {kept[-1]:.0f} MB")


if __name__ == "__main__":
    main()
