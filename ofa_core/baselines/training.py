"""Trains networks one by one, with the super-network's images, loop and number of images seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.nn.network import Network, zero_residuals
from ofa_core.nn.weights import save_layers
from ofa_core.run import files
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


def baseline_layers(params: TrainBaselinesParams, space: Space, num_classes: int) -> dict[str, list[Layer]]:
    """The networks by name. Raises ValueError naming the parameter when a sub-network is not in the space."""
    networks = {
        name: stock_layers(stock.family, stock.width_mult, stock.resolution, num_classes, stock.total_stride)
        for name, stock in params.networks.items()
    }
    for name, subnet in params.subnets.items():
        try:
            networks[name] = space.layers(subnet.arch(space), num_classes)
        except ValueError as error:
            raise ValueError(f"train_baselines.subnets.{name}.{error}") from None
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
) -> dict[str, Any]:
    """Trains each network and writes out/NAME.safetensors; returns by name: top1 on val, macs, params, cost.

    work: a folder for checkpoints and finished networks, so that a killed stage trains nothing twice.
    """
    schedule = Schedule(epochs=params.epochs, warmup_epochs=params.warmup_epochs, lr=params.lr, final=shared.final_lr)
    objective = Objective.alone(shared.label_smoothing, shared.dropout)
    metrics = {}
    for name, layers in networks.items():
        folder = work / name
        folder.mkdir(exist_ok=True)
        if not (folder / "metrics.json").exists():
            torch.manual_seed(seed)
            net, r = Network(layers), layers[0].resolution
            if shared.zero_residuals:
                zero_residuals(net)
            progress = train(
                net, evaluator.train, always(net), objective, schedule, shared, machine,
                phase=name, seed=seed, work=folder, group=group,
            )  # fmt: skip
            evaluator.calibrate(net, r)
            found: dict[str, Any] = {"top1": evaluator.score(net, r), "resolution": r}
            found |= {"macs": sum(layer.macs for layer in layers), "params": sum(layer.params for layer in layers)}
            if group.is_first:
                save_layers(folder / "net.safetensors", net)
                files.write_json(folder / "metrics.json", found | cost(progress.seconds, group))
            group.wait()
        metrics[name] = files.read_json(folder / "metrics.json")
        if group.is_first:
            files.write_bytes(out / f"{name}.safetensors", (folder / "net.safetensors").read_bytes())
    return metrics
