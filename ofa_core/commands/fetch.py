"""Download what others published: networks, accuracy predictor and latency tables of once-for-all, LPCVC models."""

import argparse
from pathlib import Path

from ofa_core.commands.output import Output
from ofa_core.run.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa fetch --help`."""
    parser.add_argument("name", nargs="?", help="a name that --list shows")
    parser.add_argument("--list", action="store_true", help="show the names and download nothing")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (default: the working folder)")
    parser.add_argument("--url", help="a mirror: the address of the file, or of the folder of a network of several files")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for an unknown name and for a failed download."""
    from ofa_core.zoo import catalogue

    if args.list:
        names = [*catalogue.PACKAGED, *catalogue.PUBLISHED]
        return Output("\n".join(names), {"names": names})
    if args.name is None:
        raise InputError("name: missing; `ofa fetch --list` shows the names")
    path = catalogue.fetch(args.name, args.out, args.url)
    return Output(str(path), {"name": args.name, "path": str(path)})
