"""Measure the latency of a TFLite file on this machine."""

import argparse
from pathlib import Path

from ofa_core.commands.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa bench --help`."""
    parser.add_argument("model", type=Path, metavar="MODEL.tflite", help="of any kind")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the interpreter (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, metavar="S", help="of timed runs in all (default: %(default)s)")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for bad arguments and for a file that is not a TFLite model."""
    from ofa_core.commands import classify

    found = classify.benchmark(args.model, args.threads, args.seconds)
    median, spread = found["latency_ms"], found["latency_spread_ms"]
    text = f"{median:.4g} ms, spread {spread:.2g} ms over {found['instances']} interpreters\n{found['device']}"
    return Output(text, {"model": str(args.model)} | found)
