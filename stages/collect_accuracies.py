"""Stage collect_accuracies: measures sampled sub-networks of the shrunk super-network on the val split."""

import time

import numpy as np

from ofa_core.accuracies.collect import collect, collect_int8, promising_archs, sample_archs
from ofa_core.accuracies.params import CollectParams
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.accuracy_table import write_accuracies
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.metrics import cost
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/accuracies.csv and its report."""
    with running("collect_accuracies") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("collect_accuracies", CollectParams)
        last = stage.params.read("shrink.last", str)
        weights, dataset = stage.input(paths.supernet(last)), stage.input(paths.DATASET)

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        net = build_supernet(space, len(train_images.classes))
        load_weights(weights, net)
        chosen = round(params.architectures * params.promising)
        archs = sample_archs(space, params.architectures - chosen, seed)
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        with joined(shared.device) as group:
            started = time.monotonic()
            top1 = collect(net, evaluator, archs, group)
            if chosen:
                more = promising_archs(AccuracyPredictor.fit(space, archs, np.array(top1), seed=seed), archs, chosen, seed)
                archs, top1 = archs + more, top1 + collect(net, evaluator, more, group)
            int8_top1 = collect_int8(net, evaluator, archs, params.int8_architectures, group)
            if group.is_first:
                write_accuracies(paths.ACCURACIES, archs, top1, int8_top1)
                report = {"top1": max(top1), "lowest_top1": min(top1), "split": "val"}
                report |= {"architectures": len(archs), "int8_architectures": len(int8_top1)}
                stage.write_report(report | cost(time.monotonic() - started, group))


if __name__ == "__main__":
    exit_cleanly(main)
