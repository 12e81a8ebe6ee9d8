"""Name the five most probable classes of images by a TFLite classifier, or draw the boxes of a detector."""

import argparse
from pathlib import Path

from ofa_core.commands import arguments
from ofa_core.commands.output import Output
from ofa_core.run.errors import InputError

MIN_SCORE = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa predict --help`."""
    arguments.add_model(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG, WebP or BMP")
    arguments.add_shorter_side(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="of a detector: where the images with boxes go, as PNG")
    parser.add_argument("--min-score", type=float, metavar="S",
                        help=f"of a detector: the least score, 0..1, of a box that counts (default: {MIN_SCORE})")  # fmt: skip


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for a file that is neither classifier nor detector, and for images that cannot be read."""
    if arguments.is_detector(args.model):
        return _detect(args)
    from ofa_core.commands import classify

    for flag, value in (("--out", args.out), ("--min-score", args.min_score)):
        if value is not None:
            raise InputError(f"{flag}: {args.model} is not a detector")
    classifier = classify.Classifier(args.model, shorter_side=args.shorter_side)
    found = {str(path): classifier.predict(path) for path in args.images}
    lines = []
    for path, report in found.items():
        lines += [f"{path}:", *classifier.task.lines(report)]
    images = [{"file": path} | report for path, report in found.items()]
    return Output("\n".join(lines), {"model": str(args.model), "images": images})


def _detect(args: argparse.Namespace) -> Output:
    from ofa_core.commands import detect

    arguments.refuse_shorter_side(args)
    min_score = MIN_SCORE if args.min_score is None else args.min_score
    if not 0 <= min_score <= 1:
        raise InputError(f"--min-score: {min_score} is not between 0 and 1")
    detector, lines, images = detect.Detector(args.model), [], []
    targets = detect.targets(args.images, args.out) if args.out else [None] * len(args.images)
    for path, target in zip(args.images, targets, strict=True):
        image, report = detector.predict(path, min_score)
        lines += [f"{path}:", *(detector.task.lines(report) or [f"nothing with a score of {min_score:.0%} or more"])]
        images.append({"file": str(path)} | report)
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
            detect.drawn(image, report).save(target)
            images[-1]["drawn"] = str(target)
    return Output("\n".join(lines), {"model": str(args.model), "min_score": min_score, "images": images})
