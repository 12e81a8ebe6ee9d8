"""Convert a network to TFLite, ONNX and other files, compare them with it, and write them with manifest and checksums."""

import argparse
from pathlib import Path
from typing import get_args

from ofa_core.commands.arguments import comma_separated
from ofa_core.commands.output import Output
from ofa_core.run.errors import InputError

EXTRA = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa export --help`."""
    from ofa_core.convert.choices import Format, HardSwishChoice
    from ofa_core.quantization.params import Calibration

    add, formats = parser.add_argument, get_args(Format)
    add("network", nargs="+", type=Path, metavar="NET.config WEIGHTS",
        help="published configuration and weights, or one .safetensors file of this pipeline")  # fmt: skip
    add("--calibrate", type=Path, metavar="DIR", help="folder or .zip of images such as the network will see")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--formats", type=comma_separated(formats), default="uint8,float,onnx", metavar="A,B",
        help=f"of {', '.join(formats)} (default: %(default)s)")  # fmt: skip
    add("--resolution", type=int, metavar="R", help="of the input in pixels (default: run.config's image_size)")
    add("--background", action="store_true", help="put a class before all others that never wins (1001 classes)")
    add("--labels", type=Path, metavar="FILE", help="a class a line (default: numbers)")
    add("--normalization", choices=("symmetric", "imagenet"),
        help="of pixels when the weights were trained: x / 127.5 - 1, or ImageNet's mean and deviation, as once-for-all's were "
        "(default: what the file says or `ofa fetch` noted beside it, else symmetric)")  # fmt: skip
    add("--hard-swish", choices=get_args(HardSwishChoice), default="auto",
        help="how integer files compute it; auto is the faster form on this machine (default: %(default)s)")  # fmt: skip
    add("--calibration", choices=get_args(Calibration), default="minmax",
        help="how ranges come from activations (default: %(default)s)")  # fmt: skip
    add("--keep-float", type=comma_separated(), default="", metavar="A,B",
        help="layers that stay float in integer files (default: none)")  # fmt: skip
    add("--calibration-images", type=int, default=200, metavar="N", help="most to calibrate with (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="which images those are (default: %(default)s)")
    add("--shorter-side", type=int, metavar="S", help="resize images by it and crop the centre (default: R / 0.875)")


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for bad input or a failed check; the folder is then untouched."""
    from ofa_core.export import standalone

    if len(args.network) > 2:
        raise InputError(f"{args.network[2]}: one file too many; a network is NET.config and WEIGHTS")
    options = {key: value for key, value in vars(args).items() if key not in ("json", "command")}
    found = standalone.export(**options)
    return Output("\n".join(standalone.lines(found, args.out)), found)
