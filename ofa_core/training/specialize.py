"""From a searched architecture to a network of its own: extraction, statistics, and a check of what was written."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ofa_core.training.evaluation import EVAL_BATCH, top1, use_threads
from ofa_core.training.images import Images
from ofa_core.training.weights import load_network


def saved_top1(path: Path, dataset: Path, split: str, threads: int) -> float:
    """Top-1 (0..1) of a written network on a split, measured in a fresh process that knows the two files only."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_top1, path, dataset, split, threads).result()


def _top1(path: Path, dataset: Path, split: str, threads: int) -> float:
    use_threads(threads)
    net, arch = load_network(path)
    return top1(net, Images(dataset, split).batches(arch.r, EVAL_BATCH))
