"""Stage prepare: finds, verifies and packs the data set with the splits train, val and test."""

from ofa_core.datasets.index import write_index
from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import prepare
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running


def main() -> None:
    """Writes build/data/ (classification.npz, dataset.json and, if asked for, shards/), reports/prepare/ and its .json."""
    with running("prepare") as stage:
        params = stage.params.read("prepare", PrepareParams)
        seed = stage.params.read("seed", int)
        write_index(params)  # DVC hashes inputs after the command has ended, so it records this one
        stage.input(paths.IMAGE_INDEX)
        report = prepare(params, seed, paths.RAW, paths.DATASET, paths.REPORTS / "prepare")
        write_index(params)  # images that changed meanwhile fail the stage, like all inputs
        files.write_json(paths.report("prepare"), report)


if __name__ == "__main__":
    exit_cleanly(main)
