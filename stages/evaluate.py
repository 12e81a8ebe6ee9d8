"""Stage evaluate: accuracy of a target's TFLite files on the test split, and measured and predicted latency."""

import argparse
import sys

from ofa_core.evaluation.evaluate import measure
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.images.packed import load_split
from ofa_core.images.resize import resize, to_rgb
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.runtime.device_record import device_name, differences, host_device
from ofa_core.tasks.registry import get_task


def main() -> None:
    """Writes the report of TARGET: reports/evaluate/TARGET.json and TARGET_details.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"evaluate@{name}") as stage:
        params, task = stage.params.read("evaluate", EvaluateParams), get_task("classification")
        stage.input(paths.exported(name))
        chosen = files.read_json(stage.input(paths.chosen(name)))
        test = load_split(stage.input(paths.DATASET), "test")

        description = files.read_json(paths.exported_file(name, "description"))
        images = to_rgb(resize(test.images, description["arch"]["r"]))
        labels = test.labels + description["background"]  # the background is class 0
        here = host_device(params.threads)
        if other := differences(chosen["measured_on"], here):
            print(f"note: latency is predicted for {chosen['device']} and measured here ({'; '.join(other)})", file=sys.stderr)
        report = {
            "split": "test",
            "predicted_latency_ms": chosen["predicted_latency_ms"],
            "predicted_device": chosen["device"],
            "device": device_name(here),
        }
        models = {kind: path for kind in ("uint8", "float") if (path := paths.exported_file(name, kind)).exists()}
        rule = description["preprocessing"]
        stage.write_report(report | measure(models, images, labels, params, task, rule["mean"], rule["std"]))


if __name__ == "__main__":
    exit_cleanly(main)
