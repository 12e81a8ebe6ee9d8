"""Arguments that several commands share, and the objects they name."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ofa_core.run.errors import InputError

if TYPE_CHECKING:
    from ofa_core.space.arch import Arch
    from ofa_core.space.base import Space


def comma_separated(choices: Sequence[str] | None = None) -> Callable[[str], list[str]]:
    """The type of an argument with commas between its values. choices: the allowed values."""

    def parse(text: str) -> list[str]:
        values = [value for value in text.split(",") if value]
        for value in values:
            if choices is not None and value not in choices:
                raise argparse.ArgumentTypeError(f"invalid choice: {value!r} (choose from {', '.join(map(repr, choices))})")
        return values

    return parse


def space_name(text: str) -> str:
    """The type of an argument with the name of a space, or the path of its table."""
    from ofa_core.run.paths import is_path
    from ofa_core.space.registry import SPACES

    if text not in SPACES and not is_path(text):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(map(repr, SPACES))}, or a path)")
    return text


def add_space(parser: argparse.ArgumentParser) -> None:
    """Declares the search space and its width."""
    from ofa_core.space.registry import SPACES

    parser.add_argument("space", type=space_name, help=f"{', '.join(SPACES)}, or the path of a YAML file with a table")
    parser.add_argument("--width-mult", type=float, metavar="W", help="multiplies every width (default: the published one)")


def space_of(args: argparse.Namespace) -> "Space":
    """The space of `add_space`'s arguments. Raises InputError for an impossible width, and for a file that holds no table."""
    from ofa_core.space.registry import get_space

    return get_space(args.space, args.width_mult)


def add_arch(parser: argparse.ArgumentParser) -> None:
    """Declares the architecture: JSON, a file, or the largest or smallest one."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--arch", metavar="JSON|FILE", help='{"ks": [...], "e": [...], "d": [...], "r": 160}, or a file with it')
    which.add_argument("--largest", action="store_true", help="the full network at the largest resolution (default)")
    which.add_argument("--smallest", action="store_true", help="the smallest network at the smallest resolution")


def arch_of(args: argparse.Namespace, space: "Space") -> "Arch":
    """The architecture of `add_arch`'s arguments. A file has it at the top level or, as the search writes it, under "arch".

    Raises InputError, one line, for anything else.
    """
    from ofa_core.run import files
    from ofa_core.space.arch import Arch

    if args.arch is None:
        return space.smallest() if args.smallest else space.largest()
    if args.arch.lstrip().startswith("{"):
        try:
            fields = json.loads(args.arch)
        except json.JSONDecodeError as error:
            raise InputError(f"--arch: not JSON ({error})") from None
    else:
        fields = files.read_json(args.arch)
    fields = fields.get("arch", fields) if isinstance(fields, dict) else fields
    if not isinstance(fields, dict):
        raise InputError(f"--arch: {args.arch}: not an object with ks, e, d, r, and w where widths are elastic")
    return Arch.from_dict(fields)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declares a released TFLite file."""
    parser.add_argument("model", type=Path, metavar="MODEL.tflite", help="ID.labels.txt and manifest.json beside it are used")


def is_detector(model: Path) -> bool:
    """Whether a released file is a detector, by its outputs. Raises InputError, one line, for a file that cannot be run."""
    from ofa_core.commands.released import readable
    from ofa_core.runtime import detector

    with readable(model):
        return detector.is_detector(model)


def add_shorter_side(parser: argparse.ArgumentParser) -> None:
    """Declares a preprocessing other than the manifest's."""
    about = "resize images by their shorter side to R pixels and crop the centre (default: what manifest.json says)"
    parser.add_argument("--shorter-side", type=int, metavar="R", help=about)


def refuse_shorter_side(args: argparse.Namespace) -> None:
    """Raises InputError if it is given: a detector sees the whole image."""
    if args.shorter_side is not None:
        raise InputError(f"--shorter-side: {args.model} is a detector, which sees the whole image")
