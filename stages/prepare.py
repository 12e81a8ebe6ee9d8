"""Stage prepare: finds, verifies and packs the data set with the splits train, val and test."""

from ofa_core import files
from ofa_core.data.params import PrepareParams
from ofa_core.data.prepare import prepare
from ofa_core.stage import exit_cleanly, running


def main() -> None:
    """Writes build/data/, which is classification.npz and, where asked for, shards/, and reports/prepare.json."""
    with running("prepare") as stage:
        params = stage.params.read("prepare", PrepareParams)
        seed = stage.params.read("seed", int)
        metrics = prepare(params, seed, files.RAW, files.DATASET)
        files.write_json(files.report("prepare"), metrics)


if __name__ == "__main__":
    exit_cleanly(main)
