"""Stage evaluate_detector: average precision of a target's files on the test split, measured latency, and pictures."""

import argparse
import io

from ofa_core.detector_evaluation.evaluate import latency, released_metrics, scores, sheet, thresholds
from ofa_core.detector_evaluation.params import EvaluateDetectorParams
from ofa_core.detector_export.export import NETWORK
from ofa_core.detector_export.params import ExportDetectorParams
from ofa_core.detectors.params import DetectorParams
from ofa_core.images.boxes import load_boxes
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.runtime.device_record import device_name, host_device
from ofa_core.space.params import SpaceParams


def main() -> None:
    """Writes the report of TARGET, a sheet of pictures, and the metrics that are released with the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search_detector.targets")
    name = parser.parse_args().target
    with running(f"evaluate_detector@{name}") as stage:
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        params = stage.params.read("evaluate_detector", EvaluateDetectorParams)
        export = stage.params.read("export_detector", ExportDetectorParams)
        dataset = stage.input(paths.DETECTION)
        chosen = files.read_json(stage.input(paths.chosen_detector(name)))
        folder = stage.input(paths.exported(paths.exported_detector(name)))
        content = {kind: (folder / paths.exported_name(kind)).read_bytes() for kind in ("uint8", "float")}
        network = (folder / NETWORK).read_bytes()
        description = files.read_json(folder / paths.exported_name("description"))

        test, val = (load_boxes(dataset, split) for split in ("test", "val"))
        resolution, rule = description["arch"]["r"], description["preprocessing"]
        found = scores(content["uint8"], test, resolution)
        as_float = scores(content["float"], test, resolution, rule["mean"], rule["std"])
        report = {"split": "test", "images": len(test.images)} | found
        report |= {f"float_{key}": as_float[key] for key in ("map", "ap50")}
        report |= latency(content["uint8"], network, test, resolution, params.timed_images)
        report |= {"predicted_latency_ms": chosen["predicted_latency_ms"], "predicted_device": chosen["device"]}
        report |= {"device": device_name(host_device(1))}
        table = thresholds(
            network, design.anchors(resolution), export.settings(len(test.classes)), val, params.score_thresholds,
            params.timed_images,
        )  # fmt: skip
        picture = io.BytesIO()
        sheet(content["uint8"], test, resolution).save(picture, "PNG", optimize=True)
        stage.write_report(report | {"val": table})
        files.write_bytes(paths.report("evaluate_detector", name, ".png"), picture.getvalue())
        files.write_json(paths.detector_metrics(name), released_metrics(report))


if __name__ == "__main__":
    exit_cleanly(main)
