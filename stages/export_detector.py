"""Stage export_detector: a target's detector as TFLite files, with the operator that turns outputs into boxes."""

import argparse
from typing import cast, get_args

from ofa_core.convert.integer import draw_calibration
from ofa_core.detector_export.export import check_drop, export_detector, write
from ofa_core.detector_export.params import ExportDetectorParams
from ofa_core.detectors.params import DetectorParams
from ofa_core.images.boxes import load_boxes
from ofa_core.images.resize import resize, to_rgb
from ofa_core.latency.table import LatencyTable
from ofa_core.nn.weights import load_network, load_ranges
from ofa_core.quantization.params import Quantization
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.ops import HardSwish
from ofa_core.space.params import SpaceParams


def main() -> None:
    """Writes build/exported/det-TARGET/ and its report. Of both networks, that of the better uint8 file on val is taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search_detector.targets")
    name = parser.parse_args().target
    with running(f"export_detector@{name}") as stage:
        seed = stage.params.read("seed", int)
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        params = stage.params.read("export_detector", ExportDetectorParams)
        chosen = files.read_json(stage.input(paths.chosen_detector(name)))
        table = LatencyTable.load(stage.input(paths.detector_table(chosen["device"])))
        facts, dataset = files.read_json(stage.input(paths.DETECTION_FACTS)), stage.input(paths.DETECTION)
        networks = {kind: stage.input(paths.tuned_detector(name, kind)) for kind in get_args(Quantization)}

        train, val = (load_boxes(dataset, split) for split in ("train", "val"))
        some = draw_calibration(len(train.images), params.calibration_images, seed)
        found = {}
        for kind, path in networks.items():
            network, arch = load_network(path)
            calibration = to_rgb(resize(train.images[some], arch.r))
            anchors, hard_swish = design.anchors(arch.r), cast(HardSwish, table.hard_swish)
            found[kind] = export_detector(network, anchors, params, hard_swish, calibration, val, load_ranges(path))
        scores = {kind: exported.report["map"] for kind, exported in found.items()}
        best = max(scores, key=lambda kind: scores[kind])
        check_drop(found[best].report, params.max_int8_drop)
        about = {key: facts[key] for key in ("dataset", "dataset_license") if key in facts} | {"arch": arch.to_dict()}
        with files.replacing_folder(paths.exported(paths.exported_detector(name))) as folder:
            write(folder, found[best], about, networks[best])
        size = design.space.cost(arch, len(train.classes))
        report = {"released": best, "candidates_map": scores, "macs": size.macs, "params": size.params}
        stage.write_report(found[best].report | report)


if __name__ == "__main__":
    exit_cleanly(main)
