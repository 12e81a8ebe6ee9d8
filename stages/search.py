"""Stage search: the most accurate sub-network for every target."""

import shutil

import pandas as pd
from tqdm import tqdm

from ofa_core.latency.origin import check_origin
from ofa_core.latency.params import LatencyParams
from ofa_core.latency.table import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.search.params import SearchParams
from ofa_core.search.targets import search_targets


def main() -> None:
    """Writes build/search/TARGET.json for every target, reports/search.json and .csv, and the front as search_front.csv."""
    with running("search") as stage:
        seed = stage.params.read("seed", int)
        params = stage.params.read("search", SearchParams)
        stage.input(paths.PREDICTORS)
        predictor = AccuracyPredictor.load(paths.predictor("int8_top1" if params.objective == "int8_top1" else "top1"))
        latency = stage.params.read("build_latency_table", LatencyParams)
        tables = {}
        for device in params.devices.values():
            tables[device] = LatencyTable.load(stage.input(paths.latency_table(device)))
            check_origin(device, latency.devices[device], tables[device])

        found, front = search_targets(params, predictor.space, predictor, tables, seed, tqdm)
        for name, result in found.items():
            latency_ms, top1 = result["predicted_latency_ms"], result["predicted_top1"]
            print(f"{name}: predicted {latency_ms:.4f} ms on {result['device']}, top-1 {top1:.4f}")
        shutil.rmtree(paths.SEARCH, ignore_errors=True)
        for name, result in found.items():
            files.write_json(paths.searched(name), result)
        columns = [
            "target",
            "device",
            "budget_ms",
            "predicted_latency_ms",
            "predicted_top1",
            "random_search_top1",
            "evaluations",
        ]
        table_of_targets = pd.DataFrame(found.values())[columns].to_csv(index=False, float_format="%.6g")
        files.write_bytes(paths.report("search", suffix=".csv"), table_of_targets.encode())
        numbers = {name: {k: v for k, v in result.items() if isinstance(v, int | float)} for name, result in found.items()}
        files.write_json(paths.report("search"), numbers)
        front_table = front.to_csv(index=False, float_format="%.6g")
        files.write_bytes(paths.report("search_front", suffix=".csv"), front_table.encode())


if __name__ == "__main__":
    exit_cleanly(main)
