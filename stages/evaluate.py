"""Stage evaluate: accuracy of a target's TFLite files on the test split, and measured beside predicted latency."""

import argparse
import sys

from ofa_core import files
from ofa_core.data.packed import load_split
from ofa_core.data.resize import resize, to_rgb
from ofa_core.latency.device import device_name, differences, host_device
from ofa_core.measure.evaluation import measure
from ofa_core.measure.params import EvaluateParams
from ofa_core.stage import exit_cleanly, running


def main() -> None:
    """Writes reports/evaluate/TARGET.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search.targets")
    name = parser.parse_args().target
    with running(f"evaluate@{name}") as stage:
        params = stage.params.read("evaluate", EvaluateParams)
        stage.input(files.exported(name))
        searched = files.read_json(stage.input(files.searched(name)))
        test = load_split(stage.input(files.DATASET), "test")

        description = files.read_json(files.exported_file(name, "description"))
        images = to_rgb(resize(test.images, description["arch"]["r"]))
        labels = test.labels + description["background"]  # which is class 0 where there is one
        here = host_device(params.threads)
        if other := differences(searched["measured_on"], here):
            print(
                f"note: latency is predicted for {searched['device']} and measured here ({'; '.join(other)})", file=sys.stderr
            )
        metrics = {
            "split": "test",
            "predicted_latency_ms": searched["predicted_latency_ms"],
            "predicted_device": searched["device"],
            "device": device_name(here),
        }
        models = {kind: path for kind in ("uint8", "float") if (path := files.exported_file(name, kind)).exists()}
        files.write_json(files.report("evaluate", name), metrics | measure(models, images, labels, params))


if __name__ == "__main__":
    exit_cleanly(main)
