"""Stage evaluate: accuracy of a target's TFLite files on the test split, and measured beside predicted latency."""

import argparse

from ofa_core import files
from ofa_core.data.packed import load_split
from ofa_core.data.resize import resize, to_rgb
from ofa_core.latency.device import device_name, host_device
from ofa_core.measure.evaluation import accuracy
from ofa_core.measure.host import time_model
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

        resolution = files.read_json(files.exported_file(name, "description"))["arch"]["r"]
        images = to_rgb(resize(test.images, resolution))
        metrics = {
            "split": "test",
            "predicted_latency_ms": searched["predicted_latency_ms"],
            "device": device_name(host_device(params.threads)),
        }
        for kind, prefix in (("uint8", ""), ("float", "float_")):
            path = files.exported_file(name, kind)
            if not path.exists():
                continue
            scores = accuracy(path, images, test.labels)
            timing = time_model(path, params.threads, params.instances, params.milliseconds / 1000)
            metrics |= {f"{prefix}{key}": value for key, value in scores.items()}
            metrics |= {f"{prefix}latency_ms": timing.median_ms, f"{prefix}latency_spread_ms": timing.spread_ms}
        files.write_json(files.report("evaluate", name), metrics)


if __name__ == "__main__":
    exit_cleanly(main)
