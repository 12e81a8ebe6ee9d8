"""Write params.yaml: params/default.yaml with the changes of a profile. Says which values it overwrites."""

import argparse
from pathlib import Path
from typing import Any

from ofa_core.commands.output import Output
from ofa_core.run.errors import InputError

EXTRA = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa profile --help`."""
    parser.add_argument("name", nargs="?", help="a name that --list shows, or the path of a file with changes of the default")
    parser.add_argument("--list", action="store_true", help="show the profiles and write nothing")
    parser.add_argument("--out", type=Path, default=Path("params.yaml"), metavar="FILE", help="default: %(default)s")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for an unknown profile or the first mistake in it, before anything is written."""
    from ofa_core.profiles import profile

    if args.list:
        names = profile.names()
        width = max(map(len, names))
        return Output("\n".join(f"{name:<{width}}  {about}" for name, about in names.items()), {"profiles": names})
    if args.name is None:
        raise InputError("name: missing; `ofa profile --list` shows the profiles")
    written = profile.write(args.name, args.out)
    found: dict[str, Any] = {"profile": str(written.path), "path": str(args.out), "lost": written.lost}
    lines = [f"{args.out}: written from {written.path}"]
    if written.existed:
        lines += [f"  {line}" for line in written.lost] or ["  no value changed"]
    if args.out == profile.PARAMS:
        lines += profile.refresh_indexes()
    return Output("\n".join(lines), found)
