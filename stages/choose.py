"""Stage choose: measures the best networks of the search, and chooses one for every target."""

from ofa_core.accuracies.collect import collect, collect_int8
from ofa_core.accuracies.journal import Journal
from ofa_core.choose.choosing import candidates, choose, summary, table_of
from ofa_core.choose.latencies import time_candidates
from ofa_core.choose.params import ChooseParams
from ofa_core.latency.origin import check_origin
from ofa_core.latency.params import LatencyParams
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.params import PredictorTarget
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/chosen/TARGET.json for every target, reports/choose.json, and all candidates as reports/choose.csv."""
    with running("choose") as stage:
        seed, last = stage.params.read("seed", int), stage.params.read("shrink.last", str)
        space = stage.params.read("space", SpaceParams).build()
        shared, params = stage.params.read("training", TrainingParams), stage.params.read("choose", ChooseParams)
        target = stage.params.read("fit_predictor.target", PredictorTarget)
        devices = stage.params.read("build_latency_table", LatencyParams).devices
        weights, dataset = stage.input(paths.supernet(last)), stage.input(paths.DATASET)
        known = Accuracies.read(stage.input(paths.ACCURACIES))
        found = {path.stem: files.read_json(path) for path in sorted(stage.input(paths.SEARCH).glob("*.json"))}
        names = sorted({result["device"] for result in found.values()})
        tables = {name: LatencyTable.load(stage.input(paths.latency_table(name))) for name in names}
        for name, table in tables.items():
            check_origin(name, devices[name], table)

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        net, archs = build_supernet(space, len(train_images.classes)), candidates(found)
        load_weights(weights, net)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            rows = collect(net, evaluator, archs, journal := Journal(work, group.rank), group)
            if any(result["objective"] == "int8_top1" for result in found.values()):
                int8 = collect_int8(net, evaluator, archs, journal, group)
                rows = [row | {"int8_top1": top1} for row, top1 in zip(rows, int8, strict=True)]
            if not group.is_first:
                return
            latencies = time_candidates(found, known.space, devices, tables, work)
            measured = Accuracies.of(known.space, archs, rows)
            chosen = choose(found, known, measured, latencies, target, params.tolerance)
            with files.replacing_folder(paths.CHOSEN) as folder:
                for name, result in chosen.items():
                    files.write_json(folder / paths.chosen(name).name, result)
        content = table_of(chosen).to_csv(index=False, float_format="%.6g")
        files.write_bytes(paths.report("choose", suffix=".csv"), content.encode())
        files.write_json(paths.report("choose"), summary(chosen))


if __name__ == "__main__":
    exit_cleanly(main)
