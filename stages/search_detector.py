"""Stage search_detector: the most precise detector for every target; the best that the predictor names are measured."""

from typing import cast

from ofa_core.accuracies.collect import collect
from ofa_core.accuracies.journal import Journal
from ofa_core.choose.choosing import candidates
from ofa_core.choose.latencies import time_candidates
from ofa_core.detector_export.params import ExportDetectorParams
from ofa_core.detector_search.operator_time import WithOperator, operator_ms
from ofa_core.detector_search.params import SearchDetectorParams
from ofa_core.detector_search.searching import SCORE, as_top1, choose_measured, search
from ofa_core.detectors.params import DetectorParams
from ofa_core.detectors.splits import load_evaluator
from ofa_core.latency.params import DetectorLatencyParams
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.ops import HardSwish
from ofa_core.space.params import SpaceParams
from ofa_core.training.evaluation import use_threads
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/detector/chosen/TARGET.json for every target, its report, and the predictions and candidates as .csv."""
    with running("search_detector") as stage:
        seed = stage.params.read("seed", int)
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("search_detector", SearchDetectorParams)
        device = stage.params.read("build_detector_table", DetectorLatencyParams).devices[params.device]
        export = stage.params.read("export_detector", ExportDetectorParams)
        weights, dataset = stage.input(paths.DETECTOR_SUPERNET), stage.input(paths.DETECTION)
        table = LatencyTable.load(stage.input(paths.detector_table(params.device)))
        stage.input(paths.DETECTOR_SCORES)
        scores = Accuracies.read(paths.DETECTOR_SCORES, [SCORE])

        use_threads(shared.threads)
        space, evaluator = design.space, load_evaluator(dataset, design, shared.bn_images, seed)
        net = build_supernet(space, len(evaluator.train.classes))
        load_weights(weights, net)
        hard_swish = cast(HardSwish, table.hard_swish)
        operator = operator_ms(net, evaluator, design, export.settings(net.num_classes), hard_swish, device.threads)
        known = as_top1(space, scores.archs, scores.values[SCORE].tolist())
        found, quality, points = search(params, known, WithOperator(table, operator), seed)
        archs = candidates(found)
        with stage.work_folder() as work:
            rows = collect(net, evaluator, archs, Journal(work))
            network_ms = time_candidates(found, space, {params.device: device}, {params.device: table}, work)
        measured = as_top1(space, archs, [row[SCORE] for row in rows])
        chosen, report, listed = choose_measured(params, found, known, measured, network_ms, operator)
        with files.replacing_folder(paths.CHOSEN_DETECTORS) as folder:
            for name, result in chosen.items():
                files.write_json(folder / paths.chosen_detector(name).name, result)
        stage.write_report(quality | {"targets": report, "postprocess_ms": {str(r): ms for r, ms in operator.items()}})
        for suffix, rows_of in ((".csv", points), ("_candidates.csv", listed)):
            content = rows_of.to_csv(index=False, float_format="%.6g").encode()
            files.write_bytes(paths.report("search_detector", suffix=suffix), content)


if __name__ == "__main__":
    exit_cleanly(main)
