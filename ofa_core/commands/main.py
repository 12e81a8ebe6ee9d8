"""Entry point of `ofa`. Exit codes: 0 done, 1 a check failed, 2 bad input (one line on stderr)."""

import argparse
import json
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from ofa_core.commands import COMMANDS
from ofa_core.commands.extras import advice
from ofa_core.run.errors import InputError


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line, like any other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


class _Version(argparse.Action):
    """Reads the package's metadata only if asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"ofa {version('ofa_core')}")
        parser.exit()


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands. Only the chosen one declares its arguments, because this may need imports."""
    parser = _Parser(prog="ofa", description="Once-for-all networks: costs, downloads, checks, and released models at work.")
    parser.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="show the version and exit")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        command = import_module(f"ofa_core.commands.{name}")
        about = (command.__doc__ or "").splitlines()[0]
        one = commands.add_parser(name, help=about, description=about)
        one.add_argument("--json", action="store_true", help="print one JSON object")
        if name == chosen:
            command.add_arguments(one)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs `ofa` with these arguments (default: the process's); returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # `ofa` itself has no option that takes a value, so the first word without a dash is the command.
    name = next((word for word in given if not word.startswith("-")), "")
    command = import_module(f"ofa_core.commands.{name}") if name in COMMANDS else None
    try:
        args = build_parser(name).parse_args(given)
        output = command.run(args)  # type: ignore[union-attr]  # the parser has rejected all other names
        print(json.dumps(output.json, allow_nan=False) if args.json else output.text, flush=True)
    except BrokenPipeError:  # `ofa cost ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] in ("", "ofa_core"):
            raise
        return _fail(advice(name, missing, getattr(command, "EXTRA", None)))
    except (InputError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    return 1 if output.failed else 0


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
