"""Training on several processes: they share the images of a step, sum the gradients, and all take the same step.

torchrun (https://docs.pytorch.org/docs/stable/elastic/run.html) starts the processes, on one machine or several, and sets their
ranks. Without torchrun there is one process. Every rank draws the same architectures and the same resolution, so the same
parameters have gradients everywhere. The only communication is one sum of all gradients after the last sub-network of a step.
DistributedDataParallel would sum once per sub-network, and search the graph for unused parameters each time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from ofa_core.run.errors import InputError

TIMEOUT = timedelta(minutes=30)
"""Longest wait for another rank. After that the run ends, and torchrun restarts it from the last checkpoint."""


class Group:
    """The processes that train together, seen from one of them. rank: number of this process. Rank 0 writes files."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns when all processes have called it."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: list[float]) -> list[float]:
        """The sum of each number over all processes."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def average(self, net: nn.Module) -> None:
        """Sums all gradients over the processes, and averages the running statistics of batch norms.

        All processes draw the same sub-networks, so the same parameters have gradients everywhere.
        """
        if self.size > 1:
            buffers = list(net.buffers())
            self._sum_in_place([p.grad for p in net.parameters() if p.grad is not None] + buffers)
            for buffer in buffers:
                buffer /= self.size

    def gather(self, values: list[Any]) -> list[Any]:
        """Collects items on every process, in their original order. Item i belongs to rank i modulo the number of processes."""
        if self.size == 1:
            return values
        parts: list[list[Any]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, values)
        count = sum(map(len, parts))
        return [parts[i % self.size][i // self.size] for i in range(count)]

    def _sum_in_place(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))


ALONE = Group(0, 1, torch.device("cpu"))
"""One process, on the CPU."""


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group of this process, from torchrun's environment variables. The process leaves it at the end of the block.

    device: auto (a GPU if there is one), cpu or cuda. Raises InputError, naming the parameter, for cuda without a GPU.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device: cuda: torch sees no GPU here (a CPU build never sees one)")
    if device == "cpu" or not torch.cuda.is_available():
        chosen = torch.device("cpu")
    else:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(chosen)
    if size > 1:
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=_store(), rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Group(rank, size, chosen)
    finally:
        if size > 1:
            dist.destroy_process_group()


def _store() -> dist.Store:
    """The key-value store through which torchrun's processes find each other.

    On one machine torchrun keeps the store across restarts. It may contain the address of a dead process, so keys include the
    number of the attempt. Several machines count attempts differently, but get a new store each time.
    """
    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    return store
