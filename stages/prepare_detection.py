"""Stage prepare_detection: packs the images with boxes, or makes scenes, with the splits train, unlabelled, val and test."""

from pathlib import Path

from ofa_core.datasets.detection import prepare_detection
from ofa_core.datasets.detection_params import PrepareDetectionParams
from ofa_core.datasets.index import write_detection_index
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running


def main() -> None:
    """Writes build/detector/data/ (detection.npz, an instances JSON for each split, dataset.json) and its report."""
    with running("prepare_detection") as stage:
        params = stage.params.read("prepare_detection", PrepareDetectionParams)
        seed = stage.params.read("seed", int)
        write_detection_index(params)  # DVC hashes inputs after the command has ended, so it records this one
        stage.input(Path(params.tracked))
        with files.replacing_folder(paths.DETECTION.parent) as folder:
            report = prepare_detection(params, seed, paths.DATASET, folder)
        write_detection_index(params)  # images that changed meanwhile fail the stage, like all inputs
        files.write_json(paths.report("prepare_detection"), report)


if __name__ == "__main__":
    exit_cleanly(main)
