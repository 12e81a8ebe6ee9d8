"""Name the five most probable classes of images, by a TFLite classifier and the labels beside it."""

import argparse
from pathlib import Path

from ofa_core.commands import arguments
from ofa_core.commands.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa predict --help`."""
    arguments.add_model(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG, WebP or BMP")
    arguments.add_shorter_side(parser)


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for a file that is not a classifier and for images that cannot be read."""
    from ofa_core.commands import classify

    classifier = classify.Classifier(args.model, shorter_side=args.shorter_side)
    found = {str(path): classifier.predict(path) for path in args.images}
    lines = []
    for path, report in found.items():
        lines += [f"{path}:", *classifier.task.lines(report)]
    images = [{"file": path} | report for path, report in found.items()]
    return Output("\n".join(lines), {"model": str(args.model), "images": images})
