"""Find the most accurate sub-network for every budget, by an accuracy predictor and latency tables."""

import argparse
from pathlib import Path
from typing import get_args

from ofa_core.commands.arguments import space_name
from ofa_core.commands.output import Output
from ofa_core.run.errors import InputError

EXTRA = "train"
BUDGETS = {
    "latency_ms": ("ms", "milliseconds"),
    "macs": ("macs", "multiply-accumulates"),
    "params": ("params", "parameters"),
}
"""What a budget limits: the flag that sets it, and its unit in words."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa search --help`."""
    from ofa_core.search.choices import Effort
    from ofa_core.space.registry import SPACES

    add = parser.add_argument
    add("--predictor", type=Path, required=True, metavar="FILE",
        help="build/predictor/top1.npz, or the published acc_predictor.pth")  # fmt: skip
    budgets = parser.add_mutually_exclusive_group(required=True)
    for quantity, (flag, unit) in BUDGETS.items():
        budgets.add_argument(f"--{flag}", dest=quantity, type=float, nargs="+", metavar="B", help=f"budgets in {unit}")
    add("--table", nargs="+", default=[], metavar="[NAME=]PATH", help="latency tables, one for each device; needed for --ms")
    add("--space", type=space_name, metavar="NAME|FILE",
        help=f"{', '.join(SPACES)}, or the path of a table (default: the predictor's)")  # fmt: skip
    add("--width-mult", "--width", type=float, metavar="W", help="default: the predictor's")
    add("--resolutions", type=int, nargs="+", metavar="R", help="default: the table's, or the space's")
    add("--num-classes", type=int, default=1000, metavar="N", help="for --macs and --params (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    add("--effort", choices=get_args(Effort), default="normal", help="high takes ten times as long (default: %(default)s)")
    add("--candidates", type=int, default=1, metavar="K", help="list the K best networks in --json (default: %(default)s)")
    add("--deviations", type=float, default=0.0, metavar="K",
        help="maximise top-1 less K of its deviations (default: %(default)s)")  # fmt: skip
    add("--front", type=Path, metavar="CSV", help="write the Pareto front of every table")
    add("--plot", type=Path, metavar="SVG", help="draw the front of --front beside published networks")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for a budget that no network meets, and for files that do not fit together."""
    if args.plot and not args.front:
        raise InputError("--plot: goes with --front")
    if args.plot:  # before the search, to notice a missing package at once; matplotlib first: its extra is larger
        import matplotlib  # noqa: F401

        from ofa_core.report.published import plot_published
    import pandas as pd
    from tqdm import tqdm

    from ofa_core.commands import search_request

    [quantity] = (name for name in BUDGETS if getattr(args, name) is not None)
    shared = ("predictor", "space", "width_mult", "resolutions", "seed", "effort", "deviations", "candidates", "num_classes")
    fields = {name: getattr(args, name) for name in shared}
    request = search_request.Request(quantity=quantity, limits=getattr(args, quantity), tables=args.table, **fields)
    rows = search_request.answer(request, args.front, lambda steps: tqdm(steps, leave=False, disable=None))
    if args.plot:
        plot_published(args.plot, pd.read_csv(args.front))
    return Output(search_request.text(rows), {"results": rows})
