"""Measure the accuracy of a TFLite classifier on labelled image files."""

import argparse
from pathlib import Path

from ofa_core.commands import arguments
from ofa_core.commands.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa eval --help`."""
    from ofa_core.images.packed import SPLITS

    arguments.add_model(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="folder or .zip of class folders, or of images/ and labels.csv (file, label)")  # fmt: skip
    parser.add_argument("--split", choices=SPLITS, default="test", help="of a DIR with several (default: %(default)s)")
    arguments.add_shorter_side(parser)


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for a file that is not a classifier and for images that cannot be scored."""
    from ofa_core.commands import classify

    classifier = classify.Classifier(args.model, shorter_side=args.shorter_side)
    found = classify.evaluate(classifier, args.data, args.split)
    text = f"{classifier.task.summary(found)} of {found['images']} images"
    return Output(text, {"model": str(args.model), "data": str(args.data)} | found)
