"""Measure the accuracy of a TFLite classifier or detector on labelled image files."""

import argparse
from pathlib import Path

from ofa_core.commands import arguments
from ofa_core.commands.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa eval --help`."""
    from ofa_core.images.packed import SPLITS

    arguments.add_model(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="folder or .zip; of a classifier: class folders, or images/ and labels.csv (file, label); "
                             "of a detector: COCO or Pascal VOC")  # fmt: skip
    parser.add_argument("--split", choices=SPLITS, default="test", help="of a DIR with several (default: %(default)s)")
    arguments.add_shorter_side(parser)


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for a file that is neither classifier nor detector, and for images that cannot be scored."""
    if arguments.is_detector(args.model):
        return _detect(args)
    from ofa_core.commands import classify

    classifier = classify.Classifier(args.model, shorter_side=args.shorter_side)
    found = classify.evaluate(classifier, args.data, args.split)
    text = f"{classifier.task.summary(found)} of {found['images']} images"
    return Output(text, {"model": str(args.model), "data": str(args.data)} | found)


def _detect(args: argparse.Namespace) -> Output:
    from ofa_core.commands import detect

    arguments.refuse_shorter_side(args)
    detector = detect.Detector(args.model)
    found = detect.evaluate(detector, args.data, args.split)
    lines = [f"{detector.task.summary(found)} of {found['images']} images", *detect.by_class(found)]
    return Output("\n".join(lines), {"model": str(args.model), "data": str(args.data)} | found)
