"""Makes a searched architecture a stand-alone network: fine-tunes it and checks the written file.

Fine-tuning as in Once-for-All, section 4 (75 epochs there): the network starts from the super-network's weights and trains
alone, taught by a larger one. Training may be quantisation-aware, with the integer file's rounding (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877).
"""

import copy
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

from ofa_core.nn.network import LayerModule, Network, SuperNetwork
from ofa_core.nn.weights import load_full, load_network, load_ranges, load_weights, save_network
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.quantization.observe import observe
from ofa_core.quantization.params import Quantization
from ofa_core.run.errors import InputError
from ofa_core.run.machine import MachineParams
from ofa_core.space.arch import Arch
from ofa_core.space.registry import space_of
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import Group
from ofa_core.training.evaluation import Evaluator, eval_batch, network_score, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import MakeOptimizer, Schedule, always, sgd, train
from ofa_core.training.objective import Objective
from ofa_core.training.params import TrainingParams


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """What is the same for all networks of a run: images, teacher, parameters, processes.

    evaluator: its train split is trained on. teacher: as `load_teacher` returns it. phase: equal names see equal images.
    optimizer: as in `training.loop.train`.
    """

    evaluator: Evaluator
    teacher: Network | None
    params: SpecializeParams
    shared: TrainingParams
    machine: MachineParams
    phase: str
    seed: int
    group: Group
    optimizer: MakeOptimizer = sgd

    def specialize_all(self, start: Network, work: Path) -> tuple[dict[Quantization, LayerModule], float]:
        """One network per requested quantisation, post first, each from a copy of `start`; and the total training seconds.

        work: a folder for checkpoints.
        """
        found, seconds = dict[Quantization, LayerModule](), 0.0
        for kind in get_args(Quantization):
            if self.params.quantization in (kind, "both"):
                (work / kind).mkdir(exist_ok=True)
                found[kind], spent = self.specialize(copy.deepcopy(start), kind, work / kind)
                seconds += spent
        return found, seconds

    def specialize(self, net: Network, quantization: Quantization, work: Path) -> tuple[LayerModule, float]:
        """Fine-tunes a stand-alone network in place at its resolution, if asked to, and measures its batch norm statistics.

        quantization: post trains in float, to be quantised afterwards, and returns the network itself. aware trains with the
        integer file's rounding and fixed batch norm statistics, and returns the `FakeQuantized` around it. Also returns the
        training seconds. The mode is eval.
        """
        net.to(self.group.device)
        resolution, params = net.active[0].resolution, self.params
        module: LayerModule = net
        if quantization == "aware":
            calibration = self.evaluator.calibrate(net, resolution)
            steps = self._schedule.steps(len(self.evaluator.train) // self.shared.batch_size)
            ranges = observe(net, calibration)
            delay = round(params.delay * steps) * self.shared.accumulate
            module = FakeQuantized(net, ranges, learn=params.ranges == "learned", delay=delay)
        seconds = self.fine_tune(module, work).seconds if params.epochs else 0.0
        if quantization == "post":
            self.evaluator.calibrate(net, resolution)
        return module.eval(), seconds

    def fine_tune(self, net: LayerModule, work: Path) -> Progress:
        """Trains a stand-alone network in place at its resolution; returns the finished progress."""
        objective = Objective.alone(self.shared.label_smoothing, self.shared.dropout, self.teacher, self.params.distill_weight)
        return train(
            net, self.evaluator.train, always(net), objective, self._schedule, self.shared, self.machine,
            phase=self.phase, seed=self.seed, work=work, group=self.group, optimizer=self.optimizer,
        )  # fmt: skip

    @property
    def _schedule(self) -> Schedule:
        params = self.params
        return Schedule(epochs=params.epochs, warmup_epochs=params.warmup_epochs, lr=params.lr, final=self.shared.final_lr)


def load_teacher(
    params: SpecializeParams, supernet: SuperNetwork, full: Path, shrunk: Path, evaluator: Evaluator, resolution: int
) -> Network | None:
    """The teacher that the parameters ask for, stand-alone and in eval mode. None: labels only, or nothing is trained.

    full, shrunk: the super-network's weights before and after shrinking. They are loaded into `supernet`, which then holds
    either. resolution: of the images it will see. The shrunk super-network's largest sub-network has batch norm statistics of
    that resolution from `evaluator`; the full network has those it was trained with.
    """
    if not params.epochs or params.teacher == "none":
        return None
    if params.teacher == "full":
        return load_full(full, supernet)
    largest = space_of(load_weights(shrunk, supernet)["space"]).largest(resolution)
    supernet.set_active(largest)
    evaluator.calibrate(supernet, resolution)
    return supernet.extract(largest).eval()


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

    origin: the super-network's description. Raises InputError if the score is more than `max_change` off that in memory.
    """
    expected = evaluator.score(module, arch.r)
    if isinstance(module, FakeQuantized):
        save_network(path, module.network, arch, origin, module.ranges)
    else:
        assert isinstance(module, Network)
        save_network(path, module, arch, origin)
    saved = saved_score(path, dataset, "val", threads)
    if abs(saved - expected) > max_change:
        raise InputError(
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
