"""Stage pseudo_label: boxes in the unlabelled images, found by the largest network or by a teacher of your own."""

from pathlib import Path
from typing import Any

from ofa_core.detector_tuning.params import PseudoLabelParams
from ofa_core.detector_tuning.pseudo_labels import counts, find, labelled, read_results, teacher_of
from ofa_core.detectors.params import DetectorParams
from ofa_core.images.boxes import load_boxes
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.evaluation import use_threads
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/detector/pseudo_labels.json, COCO results, and its report."""
    with running("pseudo_label") as stage:
        seed = stage.params.read("seed", int)
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("pseudo_label", PseudoLabelParams)
        weights, dataset = stage.input(paths.DETECTOR_SUPERNET), stage.input(paths.DETECTION)
        train, val, unlabelled = (load_boxes(dataset, name) for name in ("train", "val", "unlabelled"))

        use_threads(shared.threads)
        report: dict[str, Any] = {}
        if params.file is None:
            net = build_supernet(design.space, len(train.classes))
            load_weights(weights, net)
            report["map"] = teacher_of(net, train, val, design, params.resolution, shared.bn_images, seed)
            rows = find(net, unlabelled, design, params.resolution, params.min_score)
        else:
            rows = read_results(stage.pinned(Path(params.file), params.file_md5, "pseudo_label.file_md5"))
        found = labelled(unlabelled, rows, params.min_score, params.file or "pseudo_label")
        files.write_json(paths.PSEUDO_LABELS, [row for row in rows if row["score"] >= params.min_score])
        stage.write_report(report | {"split": "val", "teacher": params.file or "largest"} | counts(found))


if __name__ == "__main__":
    exit_cleanly(main)
