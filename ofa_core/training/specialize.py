"""From a searched architecture to a network of its own: fine-tuning, and a check of what was written.

Fine-tuning as in Once-for-All, section 4 (75 epochs there): the network starts from the super-network's weights and trains
alone, the full network teaching.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ofa_core.nn.network import Network
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import Group
from ofa_core.training.evaluation import EVAL_BATCH, top1, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, Teacher, always, train
from ofa_core.training.params import SpecializeParams, TrainingParams
from ofa_core.training.weights import load_network


def fine_tune(
    net: Network,
    resolution: int,
    images: Images,
    full: Network,
    params: SpecializeParams,
    shared: TrainingParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    group: Group,
) -> Progress:
    """Trains a stand-alone network in place at its resolution; returns the finished progress. full: the teacher."""
    schedule = Schedule(epochs=params.epochs, warmup_epochs=params.warmup_epochs, lr=params.lr)
    teacher = Teacher(net=full, weight=params.distill_weight)
    return train(
        net, images, always(net), (resolution,), schedule, shared,
        phase=phase, seed=seed, work=work, teacher=teacher, group=group,
    )  # fmt: skip


def saved_top1(path: Path, dataset: Path, split: str, threads: int) -> float:
    """Top-1 (0..1) of a written network on a split, measured in a fresh process that knows the two files only."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_top1, path, dataset, split, threads).result()


def _top1(path: Path, dataset: Path, split: str, threads: int) -> float:
    use_threads(threads)
    net, arch = load_network(path)
    return top1(net, Images(dataset, split).batches(arch.r, EVAL_BATCH))
