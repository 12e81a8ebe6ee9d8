"""Stage collect_accuracies: measures sub-networks of the shrunk super-network, of every latency, on the val split."""

import time
from functools import partial

from ofa_core.accuracies.collect import collect, collect_int8, spread
from ofa_core.accuracies.journal import Journal
from ofa_core.accuracies.params import CollectParams
from ofa_core.accuracies.sampling import promising_archs, sample_archs
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.fitting import fit_predictors
from ofa_core.predictor.params import PredictorTarget
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.space.registry import space_of
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.metrics import cost
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/accuracies/ and its report."""
    with running("collect_accuracies") as stage:
        seed = stage.params.read("seed", int)
        full = stage.params.read("space", SpaceParams).build()
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("collect_accuracies", CollectParams)
        target = stage.params.read("fit_predictor.target", PredictorTarget)
        last, device = stage.params.read("shrink.last", str), stage.params.read("search.device", str)
        weights, dataset = stage.input(paths.supernet(last)), stage.input(paths.DATASET)
        table = LatencyTable.load(stage.input(paths.latency_table(device)))

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        net = build_supernet(full, len(train_images.classes))
        space = space_of(load_weights(weights, net)["space"])  # what was trained
        latencies = partial(table.predict_codes, space)
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            started, journal = time.monotonic(), Journal(work, group.rank)
            promising = round(params.architectures * params.promising)
            archs = sample_archs(space, latencies, params.architectures - promising, seed)
            rows = collect(net, evaluator, archs, journal, group)
            if promising:
                predictor = fit_predictors(Accuracies.of(space, archs, rows), target)["top1"]
                more = promising_archs(predictor, latencies, archs, promising, seed)
                archs, rows = archs + more, rows + collect(net, evaluator, more, journal, group)
            some = spread(latencies(*space.encode(archs)), params.int8_architectures)
            for i, int8_top1 in zip(some, collect_int8(net, evaluator, [archs[i] for i in some], journal, group), strict=True):
                rows[i] = rows[i] | {"int8_top1": int8_top1}
            if group.is_first:
                Accuracies.of(space, archs, rows).write(paths.ACCURACIES)
                top1 = [row["top1"] for row in rows]
                report = {"top1": max(top1), "lowest_top1": min(top1), "split": "val"}
                report |= {"architectures": len(archs), "int8_architectures": len(some)}
                stage.write_report(report | cost(time.monotonic() - started, group))


if __name__ == "__main__":
    exit_cleanly(main)
