"""Stage export: a target's network as TFLite, ONNX and other files, once they are found to agree with it."""

import argparse

import numpy as np
import pandas as pd

from ofa_core import files
from ofa_core.data.packed import load_split
from ofa_core.data.resize import resize, to_rgb
from ofa_core.export.accuracy import check_drop, int8_drop
from ofa_core.export.formats import export_network, write
from ofa_core.export.params import ExportParams
from ofa_core.measure.activation import choose_hard_swish
from ofa_core.stage import exit_cleanly, running
from ofa_core.training.weights import load_network


def main() -> None:
    """Writes build/exported/TARGET/, reports/export/TARGET.json and the errors of layers, TARGET.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"export@{name}") as stage:
        params = stage.params.read("export", ExportParams)
        weights = stage.input(files.specialized(name))
        dataset = stage.input(files.DATASET)
        train, val = load_split(dataset, "train"), load_split(dataset, "val")

        net, arch = load_network(weights)
        count = min(params.calibration_images, len(train.images))
        chosen = np.random.default_rng(params.calibration_seed).choice(len(train.images), count, replace=False)
        calibration = to_rgb(resize(train.images[chosen], arch.r))
        images = to_rgb(resize(val.images, arch.r))
        hard_swish, times = choose_hard_swish(params.hard_swish, net.active)
        exported = export_network(
            net, train.classes, params, hard_swish, calibration, images[: params.parity_images], weights.read_bytes()
        )
        drop = int8_drop(exported.float_file, exported.content["uint8"], images, val.labels + params.background)
        check_drop(drop, params.max_int8_drop)

        write(files.exported(name), exported, exported.description | {"arch": arch.to_dict()})
        sizes = {path.name: path.stat().st_size for path in sorted(files.exported(name).iterdir())}
        report = exported.report | drop | {"split": "val", "bytes": sizes, "hard_swish": hard_swish, "hard_swish_ms": times}
        files.write_json(files.report("export", name), report)
        layers = pd.DataFrame(exported.layers).to_csv(index=False)
        files.write_bytes(files.report("export", name, ".csv"), layers.encode())


if __name__ == "__main__":
    exit_cleanly(main)
