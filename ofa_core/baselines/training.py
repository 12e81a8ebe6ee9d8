"""Trains networks one by one, with the super-network's images, loop and number of images seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.nn.network import Network, zero_residuals
from ofa_core.nn.weights import save_layers
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.run.machine import MachineParams
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


def baseline_layers(params: TrainBaselinesParams, space: Space, num_classes: int) -> dict[str, list[Layer]]:
    """The networks by name. Raises InputError naming the parameter when a sub-network is not in the space."""
    networks = {
        name: stock_layers(stock.family, stock.width_mult, stock.resolution, num_classes, stock.total_stride)
        for name, stock in params.networks.items()
    }
    for name, subnet in params.subnets.items():
        try:
            networks[name] = space.layers(subnet.arch(space), num_classes)
        except InputError as error:
            raise InputError(f"train_baselines.subnets.{name}.{error}") from None
    return networks


def train_baselines(
    networks: Mapping[str, list[Layer]],
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
    for name, layers in networks.items():
        tried = sweep.run(name, layers, work / name)
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

    def run(self, name: str, layers: list[Layer], work: Path) -> list[dict[str, Any]]:
        """Trains a network with every rate, the highest first; returns the results of `train`.

        A loss that spikes is followed by training from scratch with the next lower rate: that of the sweep, or half the lowest.
        """
        rates = sorted(self.params.lrs)
        lowest, tried = rates[0], list[dict[str, Any]]()
        while rates:
            lr = rates.pop()
            tried.append(self.train(name, layers, lr, folder_of(work, lr)))
            if not rates and tried[-1]["rollbacks"] and lr > lowest / 2**MOST_HALVINGS:
                rates = [lr / 2]
        return tried

    def train(self, name: str, layers: list[Layer], lr: float, work: Path) -> dict[str, Any]:
        """Trains a network from random weights, or reads what an earlier run found: lr, top1 on val, rollbacks, cost.

        All rates see the same images and start from the same weights.
        """
        work.mkdir(parents=True, exist_ok=True)
        if not (work / METRICS).exists():
            torch.manual_seed(self.seed)
            net, r = Network(layers), layers[0].resolution
            if self.shared.zero_residuals:
                zero_residuals(net)
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
