"""Trains networks one by one, with the super-network's images, loop and number of images seen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.nn.network import Network, build_supernet, zero_residuals
from ofa_core.nn.weights import save_layers, transfer
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.run.machine import MachineParams
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layers import Layer
from ofa_core.space.stock import stock_layers
from ofa_core.training.distributed import Group
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.loop import Schedule, always, train
from ofa_core.training.metrics import cost
from ofa_core.training.objective import Objective
from ofa_core.training.params import TrainingParams

MOST_HALVINGS = 3
"""How often the lowest learning rate is halved for a network whose loss spikes with it."""
NET, METRICS = "net.safetensors", "metrics.json"
"""Files of a finished training in its work folder."""


Start = Callable[[], Network]
"""Makes a network as it is before training; random weights are from torch's global generator."""


def starts(params: TrainBaselinesParams, space: Space, num_classes: int, pretrained: Path, zero: bool) -> dict[str, Start]:
    """The networks by name, as they begin.

    pretrained: the weights that sub-networks start from if `params.pretrained`. zero: whether networks that start from random
    weights get `zero_residuals`. Raises InputError naming the parameter when a sub-network is not in the space.
    """

    def random(layers: list[Layer]) -> Network:
        net = Network(layers)
        if zero:
            zero_residuals(net)
        return net

    def cut(arch: Arch) -> Network:
        supernet = build_supernet(space, num_classes)
        transfer(pretrained, supernet)
        return supernet.extract(arch)

    networks: dict[str, Start] = {
        name: partial(random, stock_layers(stock.family, stock.width_mult, stock.resolution, num_classes, stock.total_stride))
        for name, stock in params.networks.items()
    }
    for name, subnet in params.subnets.items():
        try:
            arch = subnet.arch(space)
        except InputError as error:
            raise InputError(f"train_baselines.subnets.{name}.{error}") from None
        networks[name] = partial(cut, arch) if params.pretrained else partial(random, space.layers(arch, num_classes))
    return networks


def train_baselines(
    networks: Mapping[str, Start],
    evaluator: Evaluator,
    params: TrainBaselinesParams,
    shared: TrainingParams,
    machine: MachineParams,
    out: Path,
    *,
    seed: int,
    work: Path,
    group: Group,
) -> dict[str, dict[str, Any]]:
    """Trains each network with every learning rate and writes the best on val to out/NAME.safetensors.

    Returns by name: macs, params, resolution; lr, top1 on val and cost of the network that is kept; and the sweep, which lists
    lr, top1, rollbacks and cost of all. work: a folder for checkpoints and finished networks, so that a killed stage trains
    nothing twice. Raises InputError, naming the parameter and the network, if no rate trains without a spike.
    """
    sweep = Sweep(evaluator=evaluator, params=params, shared=shared, machine=machine, seed=seed, group=group)
    metrics = {}
    for name, start in networks.items():
        tried, layers = sweep.run(name, start, work / name), start().active
        steady = [attempt for attempt in tried if not attempt["rollbacks"]]
        if not steady:
            raise InputError(f"train_baselines.lrs: {name}: the loss spikes with every rate down to {tried[-1]['lr']:g}")
        kept = max(steady, key=lambda attempt: attempt["top1"])
        metrics[name] = {key: value for key, value in kept.items() if key != "rollbacks"} | {
            "resolution": layers[0].resolution,
            "macs": sum(layer.macs for layer in layers),
            "params": sum(layer.params for layer in layers),
            "sweep": tried,
        }
        if group.is_first:
            files.write_bytes(out / f"{name}.safetensors", (folder_of(work / name, kept["lr"]) / NET).read_bytes())
    return metrics


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is the same for all networks and learning rates."""

    evaluator: Evaluator
    params: TrainBaselinesParams
    shared: TrainingParams
    machine: MachineParams
    seed: int
    group: Group

    def run(self, name: str, start: Start, work: Path) -> list[dict[str, Any]]:
        """Trains a network with every rate, the highest first; returns the results of `train`.

        A loss that spikes is followed by training from scratch with the next lower rate: that of the sweep, or half the lowest.
        """
        rates = sorted(self.params.lrs)
        lowest, tried = rates[0], list[dict[str, Any]]()
        while rates:
            lr = rates.pop()
            tried.append(self.train(name, start, lr, folder_of(work, lr)))
            if not rates and tried[-1]["rollbacks"] and lr > lowest / 2**MOST_HALVINGS:
                rates = [lr / 2]
        return tried

    def train(self, name: str, start: Start, lr: float, work: Path) -> dict[str, Any]:
        """Trains a network, or reads what an earlier run found: lr, top1 on val, rollbacks, cost.

        All rates see the same images and start from the same weights.
        """
        work.mkdir(parents=True, exist_ok=True)
        if not (work / METRICS).exists():
            torch.manual_seed(self.seed)
            net = start()
            r = net.active[0].resolution
            schedule = Schedule(
                epochs=self.params.epochs, warmup_epochs=self.params.warmup_epochs, lr=lr, final=self.shared.final_lr
            )
            objective = Objective.alone(self.shared.label_smoothing, self.shared.dropout)
            progress = train(
                net, self.evaluator.train, always(net), objective, schedule, self.shared, self.machine,
                phase=name, seed=self.seed, work=work, group=self.group,
            )  # fmt: skip
            self.evaluator.calibrate(net, r)
            found = {"lr": lr, "top1": self.evaluator.score(net, r), "rollbacks": progress.rollbacks}
            if self.group.is_first:
                save_layers(work / NET, net)
                files.write_json(work / METRICS, found | cost(progress.seconds, self.group))
            self.group.wait()
        return files.read_json(work / METRICS)


def folder_of(work: Path, lr: float) -> Path:
    """The work folder of a network's training with a learning rate."""
    return work / f"lr_{lr}"
