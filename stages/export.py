"""Stage export: a target's network as uint8 and float TFLite, ONNX and safetensors files."""

import argparse
import shutil

from ofa_core import files
from ofa_core.data.packed import load_split
from ofa_core.data.resize import resize, to_rgb
from ofa_core.export.formats import export_network
from ofa_core.export.params import ExportParams
from ofa_core.stage import exit_cleanly, running
from ofa_core.training.weights import load_network


def main() -> None:
    """Writes build/exported/TARGET/ and reports/export/TARGET.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"export@{name}") as stage:
        params = stage.params.read("export", ExportParams)
        weights = stage.input(files.specialized(name))
        train = load_split(stage.input(files.DATASET), "train")

        net, arch = load_network(weights)
        calibration = to_rgb(resize(train.images[: params.calibration_images], arch.r))  # packed in random order
        shutil.rmtree(files.exported(name), ignore_errors=True)
        description = export_network(net, arch, weights, train.classes, calibration, params, name)
        metrics = {key: description[key] for key in ("largest_difference_to_torch", "same_top1_as_torch")}
        sizes = {path.name: path.stat().st_size for path in sorted(files.exported(name).iterdir())}
        files.write_json(files.report("export", name), metrics | {"split": "train", "bytes": sizes})


if __name__ == "__main__":
    exit_cleanly(main)
