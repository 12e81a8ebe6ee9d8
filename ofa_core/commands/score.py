"""Score a network by the rules of the on-device vision challenges (OVIC, LPCVC): ImageNet or COCO on a Pixel 2."""

import argparse

from ofa_core.commands.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa score --help`."""
    parser.add_argument("--latency-ms", type=float, required=True, metavar="MS", help="of one image")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--top1", type=float, metavar="A", help="of a classifier, 0..1")
    which.add_argument("--map", type=float, metavar="A", help="of a detector, COCO mAP in 0..1")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for numbers that no network can have."""
    from ofa_core.report import ovic

    if args.map is not None:
        above = ovic.detection_improvement(args.latency_ms, args.map)
        text = f"{100 * above:+.2f} points against the frontier of 2020"
        return Output(text, {"latency_ms": args.latency_ms, "map": args.map, "improvement": above})
    found = ovic.score(args.latency_ms, args.top1)
    return Output(ovic.describe(found), {"latency_ms": args.latency_ms, "top1": args.top1} | found._asdict())
