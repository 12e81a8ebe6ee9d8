"""Stage build_detector_table: the latency of every layer of the space of detectors on a device."""

import argparse

import pandas as pd

from ofa_core.convert.hard_swish import choose_hard_swish
from ofa_core.convert.params import HardSwishChoice
from ofa_core.detectors.params import DetectorParams
from ofa_core.latency.params import DeviceParams
from ofa_core.measure.device_table import obtain_table
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams


def main() -> None:
    """Writes build/detector/latency/DEVICE.json, its report and the predicted and measured values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True, help="a name under build_detector_table.devices")
    name = parser.parse_args().device
    with running(f"build_detector_table@{name}") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams)).space
        choice = stage.params.read("export.hard_swish", HardSwishChoice)
        params = stage.params.read(f"build_detector_table.devices.{name}", DeviceParams)
        classes = files.read_json(stage.input(paths.DETECTION_FACTS))["classes"]
        full = space.layers(space.largest(), len(classes))
        hard_swish, _ = choose_hard_swish(choice, full, params.dtype, params.threads)

        with stage.work_folder() as work:
            table, report = obtain_table(name, params, space, len(classes), hard_swish, seed, work, "build_detector_table")
            with files.replacing(paths.detector_table(name)) as temporary:
                table.save(temporary)
            points = pd.DataFrame({key: report.pop(key, []) for key in ("predicted_ms", "measured_ms")})
            stage.write_report(report)
            files.write_bytes(paths.report("build_detector_table", name, ".csv"), points.to_csv(index=False).encode())


if __name__ == "__main__":
    exit_cleanly(main)
