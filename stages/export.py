"""Stage export: a target's network as TFLite, ONNX and other files, after checking that they agree with it."""

import argparse

import numpy as np
import pandas as pd

from ofa_core.convert.hard_swish import choose_hard_swish
from ofa_core.convert.integer import draw_calibration
from ofa_core.export.formats import export_network, write
from ofa_core.export.int8_drop import check_drop, int8_drop
from ofa_core.export.mixed_precision import with_float_layers
from ofa_core.export.params import ExportParams
from ofa_core.export.post_or_aware import choose, load_candidates
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.tasks.registry import get_task


def main() -> None:
    """Writes build/exported/TARGET/, its report, TARGET.csv (errors of layers) and TARGET_scales.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"export@{name}") as stage:
        params = stage.params.read("export", ExportParams)
        folder = stage.input(paths.specialized(name))
        dataset = stage.input(paths.DATASET)
        task = get_task("classification")
        train, val = load_split(dataset, "train"), load_split(dataset, "val")

        found = load_candidates(folder)
        net, arch = found[0].network, found[0].arch
        chosen = draw_calibration(len(train.images), params.calibration_images, params.calibration_seed)
        calibration = to_rgb(resize(train.images[chosen], arch.r))
        images, labels = to_rgb(resize(val.images, arch.r)), val.labels
        hard_swish, times = choose_hard_swish(params.hard_swish, net.active)
        best, top1 = choose(found, params, hard_swish, calibration, images, labels, task)
        choice: dict[str, object] = {}
        if params.choose_float is not None:
            rest = np.setdiff1d(np.arange(len(train.images)), chosen)[: params.choose_float.images]
            others = to_rgb(resize(train.images[rest], arch.r))
            params, choice = with_float_layers(best, params, hard_swish, calibration, others, task)
        exported = export_network(
            best.network, train.classes, params, hard_swish, calibration, images[: params.parity_images],
            best.path.read_bytes(), best.ranges, task=task,
        )  # fmt: skip
        drop = int8_drop(
            exported.float_file, exported.content["uint8"], net.normalization, images, labels + params.background, task
        )
        check_drop(drop, params.max_int8_drop, task)

        write(paths.exported(name), exported, exported.description | {"arch": arch.to_dict()})
        sizes = {path.name: path.stat().st_size for path in sorted(paths.exported(name).iterdir())}
        report: dict[str, object] = {"top1": drop.pop("top1_uint8")}
        report |= exported.report | drop | {"split": "val", "bytes": sizes, "hard_swish": hard_swish, "hard_swish_ms": times}
        report |= {"released": best.quantization, "candidates_top1": top1} | choice
        stage.write_report(report)
        for suffix, rows in ((".csv", exported.layers), ("_scales.csv", exported.scales)):
            files.write_bytes(paths.report("export", name, suffix), pd.DataFrame(rows).to_csv(index=False).encode())


if __name__ == "__main__":
    exit_cleanly(main)
