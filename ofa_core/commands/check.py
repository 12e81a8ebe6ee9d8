"""Check every section of a parameter file: unknown and missing keys, types, impossible values."""

import argparse
from pathlib import Path

from ofa_core.commands.output import Output

EXTRA = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa check --help`."""
    parser.add_argument("path", nargs="?", type=Path, default=Path("params.yaml"), help="default: %(default)s")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for the first mistake."""
    from ofa_core.profiles import profile

    lines = [f"{args.path}: OK{', as a profile' if profile.check_file(args.path) else ''}"]
    if args.path == profile.PARAMS:
        lines += profile.refresh_indexes()
    return Output("\n".join(lines), {"path": str(args.path), "ok": True})
