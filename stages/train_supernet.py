"""Stage train_supernet: trains the full network, the largest of the space, at all its resolutions."""

import torch

from ofa_core.nn import build_supernet
from ofa_core.nn.network import zero_residuals
from ofa_core.nn.weights import describe, save_weights, transfer
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.checkpoint import COLUMNS
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.linear import Linear
from ofa_core.training.loop import Schedule, train
from ofa_core.training.metrics import at_extremes, supernet_metrics, write_history
from ofa_core.training.objective import Objective
from ofa_core.training.params import TrainingParams, TrainSupernetParams
from ofa_core.training.shrinking import check_untrained, full_part, full_sampler, trained_part


def main() -> None:
    """Writes build/supernet/full.safetensors, its report and its loss curve."""
    with running("train_supernet") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared, machine = stage.params.read("training", TrainingParams), stage.machine()
        params = stage.params.read("train_supernet", TrainSupernetParams)
        dataset = stage.input(paths.DATASET)

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        torch.manual_seed(seed)
        net = build_supernet(space, len(train_images.classes))
        if params.init is None and shared.zero_residuals:
            zero_residuals(net)
        if params.init is not None:
            transfer(stage.input(paths.STARTING), net)
        if not (params.epochs or params.linear):
            check_untrained(paths.STARTING, net.num_classes)
        part = full_part(space) if params.epochs else trained_part(paths.STARTING, space)
        schedule = Schedule(epochs=params.epochs, warmup_epochs=params.warmup_epochs, lr=params.lr, final=shared.final_lr)
        objective = Objective.alone(shared.label_smoothing, shared.dropout)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            linear = Linear.fit(net.to(group.device), evaluator, shared.flip) if params.linear else None
            progress = train(
                net, train_images, full_sampler(net), objective, schedule, shared, machine,
                phase="full", seed=seed, work=work, group=group,
            )  # fmt: skip
            if group.is_first:
                choice = {} if linear is None else linear.keep_better(net, evaluator)
                save_weights(paths.supernet("full"), net, describe(net, part))
                corners = at_extremes({"largest": space.largest()}, space.resolutions)
                stage.write_report(supernet_metrics(net, evaluator, corners, progress, group) | choice)
                write_history(paths.report("train_supernet", suffix=".csv"), progress.history, COLUMNS)


if __name__ == "__main__":
    exit_cleanly(main)
