"""Stage collect_detector: measures the average precision of sub-networks of every latency on the val split."""

import time
from functools import partial

from ofa_core.accuracies.collect import collect
from ofa_core.accuracies.journal import Journal
from ofa_core.accuracies.sampling import sample_archs
from ofa_core.detectors.params import CollectDetectorParams, DetectorParams
from ofa_core.detectors.splits import load_evaluator
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import use_threads
from ofa_core.training.metrics import cost
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/detector/average_precisions/ and its report."""
    with running("collect_detector") as stage:
        seed = stage.params.read("seed", int)
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("collect_detector", CollectDetectorParams)
        device = stage.params.read("search_detector.device", str)
        weights, dataset = stage.input(paths.DETECTOR_SUPERNET), stage.input(paths.DETECTION)
        table = LatencyTable.load(stage.input(paths.detector_table(device)))

        use_threads(shared.threads)
        evaluator = load_evaluator(dataset, design, shared.bn_images, seed)
        net = build_supernet(design.space, len(evaluator.train.classes))
        load_weights(weights, net)
        archs = sample_archs(design.space, partial(table.predict_codes, design.space), params.architectures, seed)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            started = time.monotonic()
            rows = collect(net, evaluator, archs, Journal(work, group.rank), group)
            if group.is_first:
                score = evaluator.val.task.score_name
                Accuracies.of(design.space, archs, rows, [score]).write(paths.DETECTOR_SCORES)
                found = [row[score] for row in rows]
                report = {score: max(found), f"lowest_{score}": min(found), "split": "val", "architectures": len(archs)}
                stage.write_report(report | cost(time.monotonic() - started, group))


if __name__ == "__main__":
    exit_cleanly(main)
