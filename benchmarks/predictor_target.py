"""Whether a predictor should learn top-1 or cross entropy: fitted on val, compared with top-1 on test.

    python -m benchmarks.predictor_target [FOLDER]

Measures sub-networks of the finished pipeline in the working folder on val and on test, with a journal in FOLDER; a
second run goes on there. Then fits both predictors to `FITTED` of them, many times, and compares predictions for the others.
"""

import sys
from pathlib import Path

import numpy as np

from ofa_core.accuracies.collect import collect
from ofa_core.accuracies.journal import Journal
from ofa_core.accuracies.sampling import sample_archs
from ofa_core.latency.table import LatencyTable
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_weights
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.quality import prediction_quality
from ofa_core.run import paths
from ofa_core.run.params import ParamsFile
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.params import SpaceParams
from ofa_core.space.registry import space_of
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images

COUNT, FITTED, SPLITS = 126, 54, 20


def measure(work: Path) -> tuple[Space, list[Arch], dict[str, np.ndarray]]:
    """Architectures, and their top1 and cross_entropy (n,) on val, and top1 on test as `test`."""
    params, train = ParamsFile(), Images(paths.DATASET, "train")
    net = build_supernet(params.read("space", SpaceParams).build(), len(train.classes))
    space = space_of(load_weights(paths.supernet(params.read("shrink.last", str)), net)["space"])
    table = LatencyTable.load(paths.latency_table(params.read("search.device", str)))
    archs = sample_archs(space, lambda codes, r: table.predict_codes(space, codes, r), COUNT, seed=0)
    found = {}
    for split in ("val", "test"):
        (work / split).mkdir(parents=True, exist_ok=True)
        evaluator = Evaluator(train, Images(paths.DATASET, split), params.read("training.bn_images", int), seed=0)
        found[split] = collect(net, evaluator, archs, Journal(work / split))
    columns = {name: np.array([row[name] for row in found["val"]]) for name in ("top1", "cross_entropy")}
    return space, archs, columns | {"test": np.array([row["top1"] for row in found["test"]])}


def main() -> None:
    """Prints a table, means over random splits."""
    space, archs, found = measure(Path(sys.argv[1] if len(sys.argv) > 1 else ".work/predictor_target"))
    print(f"{'learned':<15}{'tau':>8}{'RMSE, points':>14}{'inside 90 %':>13}")
    for learned in ("top1", "cross_entropy"):
        rows = []
        for seed in range(SPLITS):
            order = np.random.default_rng(seed).permutation(len(archs))
            fit, rest = order[:FITTED], order[FITTED:]
            values = found["cross_entropy"][fit] if learned == "cross_entropy" else None
            predictor = AccuracyPredictor.fit(space, [archs[i] for i in fit], found["top1"][fit], cross_entropy=values)
            others = [archs[i] for i in rest]
            # val and test differ in difficulty, which no predictor can know
            quality = prediction_quality(
                predictor.predict(others), found["test"][rest] + (found["top1"] - found["test"]).mean()
            )
            low, high = predictor.interval(others, 0.9)
            inside = ((low <= found["top1"][rest]) & (found["top1"][rest] <= high)).mean()
            rows.append([quality["kendall_tau"], quality["rmse_points"], inside])
        tau, rmse, inside = np.mean(rows, axis=0)
        print(f"{learned:<15}{tau:>8.3f}{rmse:>14.2f}{inside:>13.1%}")


if __name__ == "__main__":
    main()
