"""Make models of a folder of photos: plan, project, pipeline, release."""

import argparse
from pathlib import Path

from ofa_core.commands.output import Output

EXTRA = "pipeline"
HELP = {
    "photos": "a folder or .zip archive of class folders, with or without train/, val/ and test/ above them",
    "--ms": "highest latency of each model, in milliseconds (default: three models along the front)",
    "--device": "what latencies are measured on: host (this machine), android (the phone at the cable) or android:SERIAL, as "
    "`adb devices` lists it (default: %(default)s)",
    "--benchmark-model": "TensorFlow's benchmark_model for the phone's processor; goes with android, see docs/own-device.md",
    "--minutes": "about how long a run of three models may take; sets the epochs (default: %(default)g)",
    "--out": "the project's folder (default: the name of PHOTOS and -models, in the current folder)",
    "--dry-run": "say what was found and planned, and write nothing",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `ofa make --help`."""
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help=HELP["photos"])
    parser.add_argument("--ms", type=float, nargs="+", metavar="MS", help=HELP["--ms"])
    parser.add_argument("--device", default="host", metavar="DEVICE", help=HELP["--device"])
    parser.add_argument("--benchmark-model", type=Path, metavar="FILE", help=HELP["--benchmark-model"])
    parser.add_argument("--minutes", type=float, default=20, metavar="N", help=HELP["--minutes"])
    parser.add_argument("--out", type=Path, metavar="DIR", help=HELP["--out"])
    parser.add_argument("--dry-run", action="store_true", help=HELP["--dry-run"])
    parser.epilog = (
        "Says in five lines what it found and what it will do, writes a project with the reasons in its params.yaml, and runs "
        "`dvc repro` there. After a kill, the same call goes on. With other arguments, only the stages that they touch run."
    )


def run(args: argparse.Namespace) -> Output:
    """Raises InputError for mistakes before anything is written, later for a stage that failed."""
    from ofa_core.make.making import make
    from ofa_core.make.request import Request

    photos = args.photos.resolve()
    request = Request(
        photos=photos,
        out=(args.out or Path(f"{photos.name.removesuffix('.zip')}-models")).resolve(),
        ms=tuple(sorted(set(args.ms or ()))),
        device=args.device,
        program=args.benchmark_model and args.benchmark_model.resolve(),
        minutes=args.minutes,
    )

    def say(line: str) -> None:
        """At once, for the run takes long; with --json only the object is printed."""
        if not args.json:
            print(line, flush=True)

    lines, found = make(request, args.dry_run, say)
    return Output("\n".join(lines), found)
