"""Tests how well an ImageNet-size latency table of this machine (ofa_mbv3, width 1.0) predicts whole networks.

    python -m benchmarks.latency_table [--dtypes uint8 float32] [--resolutions 160 224] [--networks 40] [--instances 3]
        [--milliseconds 60] [--predictor ../shared/data/ofa/acc_predictor.pth] [--work .work/latency_table]

For each data type it measures all layers, then random whole networks. Every second network fits the correction; the others
check the table before and after the correction. Last, it measures the networks that the search finds at several budgets
between the fastest and the slowest network. None of these is part of the fit. If stopped, it resumes when called with the same
arguments. For numbers to publish, run it with nothing else running. One data type at two resolutions takes some minutes.
"""

import argparse
import hashlib
import time
from pathlib import Path
from typing import get_args

from ofa_core.convert.params import Dtype
from ofa_core.latency.table import LatencyTable
from ofa_core.measure.build import build_table, time_networks
from ofa_core.measure.correction import prediction_errors
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.runtime.device_record import device_name
from ofa_core.runtime.host import HostDevice
from ofa_core.search import search
from ofa_core.search.additive_cost import AdditiveCost
from ofa_core.search.budget import Predictor, cost_range
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space

CLASSES = 1000
PLACES = (0.07, 0.15, 0.3, 0.45, 0.55, 0.65, 0.8, 0.9)
"""Budgets of the searched networks, as fractions from the fastest (0) to the slowest (1) network's latency, by equal ratios."""


def winners(space: Space, predictor: Predictor, table: LatencyTable) -> list[Arch]:
    """The distinct networks that the search finds at `PLACES`."""
    lowest, highest = cost_range(space, AdditiveCost.latency(space, table, space.resolutions))
    budgets = [lowest * (highest / lowest) ** place for place in PLACES]
    return list(dict.fromkeys(search(space, predictor, table, budget_ms=budget).arch for budget in budgets))


def show(name: str, found: dict[str, float]) -> None:
    """Prints the result of `accuracy` as one line."""
    print(
        f"{name:36} MAPE {found['mape']:7.2%}   within 5 % {found['within_5_percent']:6.1%}   "
        f"within 10 % {found['within_10_percent']:6.1%}   tau {found['kendall_tau']:.3f}",
        flush=True,
    )


def run(dtype: Dtype, space: Space, device: HostDevice, predictor: Predictor, args: argparse.Namespace) -> None:
    """Measures and prints one data type."""
    resolutions = "-".join(map(str, space.resolutions))
    folder = args.work / f"{dtype}-{resolutions}-{args.networks}-{args.instances}-{args.milliseconds:g}"
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    table, report = build_table(
        device, space, folder, num_classes=CLASSES, dtype=dtype, instances=args.instances, networks=args.networks
    )
    print(
        f"\n{dtype}, {', '.join(map(str, space.resolutions))} pixels, {len(table.layers)} layers, {device_name(table.device)}"
    )
    checked = report["networks_checked"]
    show(f"{checked} networks, before correction", report["before_correction"])
    show(f"{checked} networks, after correction", report)
    archs = winners(space, predictor, table)
    apart = folder / f"searched-{hashlib.sha256(repr(archs).encode()).hexdigest()[:12]}"
    apart.mkdir(exist_ok=True)
    measured = time_networks(device, space, archs, apart, num_classes=CLASSES, dtype=dtype, instances=args.instances)
    predicted = table.predict_many(space, archs)
    show(f"{len(archs)} searched networks", prediction_errors(predicted, measured))
    pairs = zip(predicted, measured, strict=True)
    print("  predicted, measured ms: " + "; ".join(f"{one:.2f}, {other:.2f}" for one, other in pairs))
    print(f"  scale {table.scale:.3f}, overhead {table.overhead_ms:.3f} ms, {time.monotonic() - started:.0f} s")


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", choices=get_args(Dtype), default=list(get_args(Dtype)))
    parser.add_argument("--resolutions", nargs="+", type=int, default=[160, 224])
    parser.add_argument("--networks", type=int, default=40, help="random whole networks; half of them fit the correction")
    parser.add_argument("--instances", type=int, default=3)
    parser.add_argument("--milliseconds", type=float, default=60, help="duration of the timed runs in each instance")
    parser.add_argument("--predictor", type=Path, default=Path("../shared/data/ofa/acc_predictor.pth"))
    parser.add_argument("--work", type=Path, default=Path(".work/latency_table"))
    args = parser.parse_args()
    space = get_space("ofa_mbv3", 1.0, tuple(sorted(args.resolutions)))
    predictor = AccuracyPredictor.load(args.predictor)
    device = HostDevice(seconds=args.milliseconds / 1000)
    for dtype in args.dtypes:
        run(dtype, space, device, predictor, args)


if __name__ == "__main__":
    main()
