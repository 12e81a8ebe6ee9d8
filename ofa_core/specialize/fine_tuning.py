"""Makes a searched architecture a stand-alone network: fine-tunes it and checks the written file.

Fine-tuning as in Once-for-All, section 4 (75 epochs there): the network starts from the super-network's weights and trains
alone, taught by the full network. Training may be quantisation-aware, with the integer file's rounding (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877).
"""

import copy
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

from ofa_core.nn.network import LayerModule, Network
from ofa_core.nn.weights import load_network, load_ranges, save_network
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.observe import observe
from ofa_core.quantization.params import Quantization
from ofa_core.run.machine import MachineParams
from ofa_core.space.arch import Arch
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import Group
from ofa_core.training.evaluation import Evaluator, eval_batch, network_score, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, Teacher, always, train
from ofa_core.training.params import TrainingParams


def specialize_all(
    start: Network,
    evaluator: Evaluator,
    full: Network,
    params: SpecializeParams,
    shared: TrainingParams,
    machine: MachineParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    group: Group,
) -> tuple[dict[Quantization, LayerModule], float]:
    """One network per requested quantisation, post first, each from a copy of `start`; and the total training seconds."""
    found, seconds = dict[Quantization, LayerModule](), 0.0
    for kind in get_args(Quantization):
        if params.quantization in (kind, "both"):
            (work / kind).mkdir(exist_ok=True)
            found[kind], spent = specialize(
                copy.deepcopy(start), kind, evaluator, full, params, shared, machine,
                phase=phase, seed=seed, work=work / kind, group=group,
            )  # fmt: skip
            seconds += spent
    return found, seconds


def specialize(
    net: Network,
    quantization: Quantization,
    evaluator: Evaluator,
    full: Network,
    params: SpecializeParams,
    shared: TrainingParams,
    machine: MachineParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    group: Group,
) -> tuple[LayerModule, float]:
    """Fine-tunes a stand-alone network in place at its resolution, if asked to, and measures its batch norm statistics.

    quantization: post trains in float, to be quantised afterwards, and returns the network itself. aware trains with the
    integer file's rounding and fixed batch norm statistics, and returns the `FakeQuantized` around it. full: the teacher.
    phase: equal names see equal images. Also returns the training seconds. The mode is eval.
    """
    net.to(group.device)
    resolution, images = net.active[0].resolution, evaluator.train
    module: LayerModule = net
    if quantization == "aware":
        calibration = evaluator.calibrate(net, resolution)
        steps = _schedule(params).steps(len(images) // shared.batch_size)
        ranges = observe(net, calibration)
        delay = round(params.delay * steps) * shared.accumulate
        module = FakeQuantized(net, ranges, learn=params.ranges == "learned", delay=delay)
    seconds = 0.0
    if params.epochs:
        seconds = fine_tune(
            module, resolution, images, full, params, shared, machine, phase=phase, seed=seed, work=work, group=group
        ).seconds
    if quantization == "post":
        evaluator.calibrate(net, resolution)
    return module.eval(), seconds


def fine_tune(
    net: LayerModule,
    resolution: int,
    images: Images,
    full: Network,
    params: SpecializeParams,
    shared: TrainingParams,
    machine: MachineParams,
    *,
    phase: str,
    seed: int,
    work: Path,
    group: Group,
) -> Progress:
    """Trains a stand-alone network in place at its resolution; returns the finished progress. full: the teacher."""
    teacher = Teacher(net=full, weight=params.distill_weight)
    return train(
        net, images, always(net), (resolution,), _schedule(params), shared, machine,
        phase=phase, seed=seed, work=work, teacher=teacher, group=group,
    )  # fmt: skip


def save_checked(
    path: Path,
    module: LayerModule,
    arch: Arch,
    origin: dict[str, Any],
    evaluator: Evaluator,
    dataset: Path,
    max_change: float,
    threads: int,
) -> float:
    """Writes a specialised network, with its ranges if it has any. Returns the score on val from `saved_score`.

    origin: the super-network's description. Raises ValueError if the score is more than `max_change` off that in memory.
    """
    expected = evaluator.score(module, arch.r)
    if isinstance(module, FakeQuantized):
        save_network(path, module.network, arch, origin, module.ranges)
    else:
        assert isinstance(module, Network)
        save_network(path, module, arch, origin)
    saved = saved_score(path, dataset, "val", threads)
    if abs(saved - expected) > max_change:
        raise ValueError(
            f"{path.name}: {evaluator.val.task.score_name} on val is {saved:.4f} as written, {expected:.4f} in memory"
        )
    return saved


def saved_score(path: Path, dataset: Path, split: str, threads: int) -> float:
    """The score (0..1) of a written network on a split, measured in a fresh process from the two files alone.

    For a network trained with quantisation, it is the score of the simulated integer file.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_score, path, dataset, split, threads).result()


def _score(path: Path, dataset: Path, split: str, threads: int) -> float:
    use_threads(threads)
    (net, arch), ranges = load_network(path), load_ranges(path)
    module = net if ranges is None else FakeQuantized(net, ranges)
    images = Images(dataset, split)
    return network_score(module, images.batches(arch.r, eval_batch(arch.r)), images.task)


def _schedule(params: SpecializeParams) -> Schedule:
    return Schedule(epochs=params.epochs, warmup_epochs=params.warmup_epochs, lr=params.lr)
