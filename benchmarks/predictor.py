"""Tests the accuracy predictor on measured ImageNet sub-networks, with and without network size as a feature.

    python -m benchmarks.predictor ofa_mbv3_w1.0_imagenet_top1.csv [--splits 3]

The file has the columns ks, e, d, r and top1 in percent (IntelLabs/DyNAS-T, 2,223 sub-networks of ofa_mbv3). Each random split
fits 1,000 networks and tests 400. It prints the root mean square error in percentage points, Kendall's tau, and the coverage of
90 % intervals, on the 400 and on all networks outside the fit.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ofa_core.predictor import accuracy
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.features import encode_features
from ofa_core.predictor.quality import prediction_quality
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space

FITTED, TESTED = 1000, 400


def without_size(*args: Any) -> dict[str, np.ndarray]:
    """The features without the size."""
    return {group: values for group, values in encode_features(*args).items() if group != "size"}


def run(archs: list[Arch], top1: np.ndarray, seed: int) -> str:
    """Fits and tests one split. Returns a line of results."""
    order = np.random.default_rng(seed).permutation(len(archs))
    unseen = order[FITTED:]
    predictor = AccuracyPredictor.fit(get_space("ofa_mbv3", 1.0), [archs[i] for i in order[:FITTED]], top1[order[:FITTED]])
    quality = prediction_quality(predictor.predict([archs[i] for i in unseen[:TESTED]]), top1[unseen[:TESTED]])
    low, high = predictor.interval([archs[i] for i in unseen], 0.9)
    inside = (low <= top1[unseen]) & (top1[unseen] <= high)
    held = f"held {inside[:TESTED].mean():.3f} of {TESTED}, {inside.mean():.3f} of {len(unseen)}"
    return f"rmse {quality['rmse_points']:.4f} points, tau {quality['kendall_tau']:.4f}, {held}"


def main() -> None:
    """Runs all splits with both sets of features."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    args = parser.parse_args()
    table = pd.read_csv(args.table)
    lists = {key: [tuple(map(int, cell.split())) for cell in table[key]] for key in ("ks", "e", "d")}
    archs = [Arch(*genes) for genes in zip(lists["ks"], lists["e"], lists["d"], table["r"].tolist(), strict=True)]
    for name, features in (("with size", encode_features), ("without", without_size)):
        accuracy.encode_features = features  # type: ignore[attr-defined]
        for seed in range(args.splits):
            print(f"{name}, split {seed}: {run(archs, table['top1'].to_numpy() / 100, seed)}", flush=True)


if __name__ == "__main__":
    main()
