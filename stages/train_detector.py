"""Stage train_detector: trains the elastic detector, all sub-networks with all widths of its heads."""

from pathlib import Path

import torch

from ofa_core.detectors.optimizers import OPTIMIZERS
from ofa_core.detectors.params import DetectorParams, TrainDetectorParams
from ofa_core.detectors.sampling import sandwich, taught_by_largest
from ofa_core.detectors.splits import load_evaluator
from ofa_core.detectors.starting import load_backbone
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import describe, save_weights
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.checkpoint import COLUMNS
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import use_threads
from ofa_core.training.loop import Schedule, train
from ofa_core.training.metrics import at_extremes, supernet_metrics, write_history
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/detector/supernet.safetensors, its report and its loss curve."""
    with running("train_detector") as stage:
        seed, machine = stage.params.read("seed", int), stage.machine()
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        params = stage.params.read("train_detector", TrainDetectorParams)
        shared = params.of(stage.params.read("training", TrainingParams))
        dataset = stage.input(paths.DETECTION)

        use_threads(shared.threads)
        evaluator = load_evaluator(dataset, design, shared.bn_images, seed)
        torch.manual_seed(seed)
        space = design.space
        net = build_supernet(space, len(evaluator.train.classes))
        if params.pretrained:
            load_backbone(net, stage.input(Path(params.init)))
        schedule = Schedule(epochs=params.epochs, warmup_epochs=params.warmup_epochs, lr=params.lr, final=shared.final_lr)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            progress = train(
                net, evaluator.train, sandwich(net, params.middle), taught_by_largest(params.middle), schedule, shared, machine,
                phase="detector", seed=seed, work=work, group=group, optimizer=OPTIMIZERS[params.optimizer],
            )  # fmt: skip
            if group.is_first:
                save_weights(paths.DETECTOR_SUPERNET, net, describe(net, space))
                corners = at_extremes({"smallest": space.smallest(), "largest": space.largest()}, space.resolutions)
                stage.write_report(supernet_metrics(net, evaluator, corners, progress, group))
                write_history(paths.report("train_detector", suffix=".csv"), progress.history, COLUMNS)


if __name__ == "__main__":
    exit_cleanly(main)
