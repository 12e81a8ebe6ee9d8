"""Check a release folder against its checksums and manifest, or one TFLite file against a challenge's contract."""

import argparse
from pathlib import Path
from typing import get_args

from ofa_core.commands.output import Output
from ofa_core.runtime.choices import Contract


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa verify --help`."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("release"), help="default: %(default)s")
    parser.add_argument("--contract", choices=get_args(Contract),
                        help="of OVIC and LPCVC on a file's inputs and outputs; the path is a TFLite file's")  # fmt: skip


def run(args: argparse.Namespace) -> Output:
    """Fails if something is not as recorded, with one line per problem."""
    if args.contract:
        return _contract(args.folder, args.contract)
    from ofa_core.release import verify as release

    problems = release.verify(args.folder)
    names = sorted(path.relative_to(args.folder).as_posix() for path in args.folder.rglob("*") if path.is_file())
    text = "\n".join(problems) if problems else "\n".join(f"{name}: OK" for name in names)
    found = {"folder": str(args.folder), "ok": not problems, "problems": problems, "files": names}
    return Output(text, found, bool(problems))


def _contract(path: Path, contract: Contract) -> Output:
    from ofa_core.runtime.contract import violations

    problems = violations(path, contract)
    found = {"file": str(path), "contract": contract, "ok": not problems, "problems": problems}
    return Output("\n".join(f"{path.name}: {line}" for line in problems or ["OK"]), found, bool(problems))
