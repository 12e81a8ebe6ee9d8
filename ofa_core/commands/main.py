"""The command `ofa`. Exit codes: 0 done, 1 a check failed, 2 bad input (one line on stderr).

A command is one function: its docstring is the help, it declares its arguments and returns what to run. Whatever is slow to
import is imported when it runs, so that `ofa verify` needs neither torch nor TensorFlow.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ofa_core.commands import profile as profile_command
from ofa_core.commands.output import Output as Report

if TYPE_CHECKING:
    from ofa_core.runtime.contract import Contract
    from ofa_core.space.arch import Arch
    from ofa_core.space.base import Space


Run = Callable[[argparse.Namespace], Report]

# --------------------------------------------------------------------------------------------------------------- commands


def check(parser: argparse.ArgumentParser) -> Run:
    """Check every section of a parameter file: unknown and missing keys, types, impossible values."""
    parser.add_argument("path", nargs="?", type=Path, default=Path("params.yaml"), help="default: params.yaml")

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.profiles import profile

        lines = [f"{args.path}: OK{', as a profile' if profile.check_file(args.path) else ''}"]
        if args.path == profile.PARAMS and profile.refresh_index():
            lines.append(profile.IMAGES_CHANGED)
        return Report("\n".join(lines), {"path": str(args.path), "ok": True})

    return run


def profile(parser: argparse.ArgumentParser) -> Run:
    """Write params.yaml: params/default.yaml with the changes of a profile. Says which values it overwrites."""
    profile_command.add_arguments(parser)
    return profile_command.run


def verify(parser: argparse.ArgumentParser) -> Run:
    """Check a release folder against its checksums and manifest, or one TFLite file against a challenge's contract."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("release"), help="default: release")
    parser.add_argument("--contract", choices=("classification", "detection"),
                        help="of OVIC and LPCVC on a file's inputs and outputs; the path is a TFLite file's")  # fmt: skip

    def run(args: argparse.Namespace) -> Report:
        if args.contract:
            return _verify_contract(args.folder, args.contract)
        from ofa_core.release import verify as release

        problems = release.verify(args.folder)
        names = sorted(path.relative_to(args.folder).as_posix() for path in args.folder.rglob("*") if path.is_file())
        text = "\n".join(problems) if problems else "\n".join(f"{name}: OK" for name in names)
        return Report(
            text, {"folder": str(args.folder), "ok": not problems, "problems": problems, "files": names}, bool(problems)
        )

    return run


def _verify_contract(path: Path, contract: "Contract") -> Report:
    from ofa_core.runtime.contract import violations

    problems = violations(path, contract)
    found = {"file": str(path), "contract": contract, "ok": not problems, "problems": problems}
    return Report("\n".join(f"{path.name}: {line}" for line in problems or ["OK"]), found, bool(problems))


def fetch(parser: argparse.ArgumentParser) -> Run:
    """Download what others published: networks, accuracy predictor and latency tables of once-for-all, LPCVC models."""
    parser.add_argument("name", nargs="?", help="a name that --list shows")
    parser.add_argument("--list", action="store_true", help="show the names and download nothing")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (default: the working folder)")
    parser.add_argument("--url", help="a mirror: the address of the file, or of the folder of a network of several files")

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.zoo import catalogue

        if args.list:
            return Report("\n".join(catalogue.PUBLISHED), {"names": list(catalogue.PUBLISHED)})
        if args.name is None:
            raise ValueError("name: missing; `ofa fetch --list` shows the names")
        path = catalogue.fetch(args.name, args.out, args.url)
        return Report(str(path), {"name": args.name, "path": str(path)})

    return run


def cost(parser: argparse.ArgumentParser) -> Run:
    """Count MACs and parameters of a sub-network, layer by layer, without building it."""
    _add_space(parser)
    _add_arch(parser)
    parser.add_argument("--num-classes", type=int, default=1000, metavar="N", help="default: 1000")

    def run(args: argparse.Namespace) -> Report:
        if args.num_classes < 1:
            raise ValueError(f"--num-classes: {args.num_classes} is less than 1")
        space = _space(args)
        arch = _arch(args, space)
        layers = space.layers(arch, args.num_classes)
        total = space.cost(arch, args.num_classes)
        rows = [{"name": layer.name, "key": layer.key, "macs": layer.macs, "params": layer.params} for layer in layers]
        lines = [f"{row['name']:<14}{row['macs']:>15,}{row['params']:>14,}  {row['key']}" for row in rows]
        lines.insert(0, f"{'layer':<14}{'MACs':>15}{'params':>14}  shape")
        lines.append(f"{'total':<14}{total.macs:>15,}{total.params:>14,}  {space.name}, {arch.r} x {arch.r} pixels")
        width = getattr(space, "width_mult", None)
        found = {"space": space.name, "width_mult": width, "num_classes": args.num_classes, "arch": arch.to_dict()}
        return Report("\n".join(lines), found | {"macs": total.macs, "params": total.params, "layers": rows})

    return run


def eval(parser: argparse.ArgumentParser) -> Run:
    """Measure the accuracy of a TFLite classifier on labelled image files."""
    _add_model(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="folder or .zip of class folders, or of images/ and labels.csv (file, label)")  # fmt: skip
    parser.add_argument("--split", default="test", help="of a DIR with train/, val/ and test/ (default: test)")
    _add_shorter_side(parser)

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.commands import classify

        classifier = classify.Classifier(args.model, shorter_side=args.shorter_side)
        found = classify.evaluate(classifier, args.data, args.split)
        text = f"{classifier.task.summary(found)} of {found['images']} images"
        return Report(text, {"model": str(args.model), "data": str(args.data)} | found)

    return run


def predict(parser: argparse.ArgumentParser) -> Run:
    """Name the five most probable classes of images, by a TFLite classifier and the labels beside it."""
    _add_model(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG, WebP or BMP")
    _add_shorter_side(parser)

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.commands import classify

        classifier = classify.Classifier(args.model, shorter_side=args.shorter_side)
        found = {str(path): classifier.predict(path) for path in args.images}
        lines = []
        for path, report in found.items():
            lines += [f"{path}:", *classifier.task.lines(report)]
        images = [{"file": path} | report for path, report in found.items()]
        return Report("\n".join(lines), {"model": str(args.model), "images": images})

    return run


def bench(parser: argparse.ArgumentParser) -> Run:
    """Measure the latency of a TFLite file on this machine."""
    parser.add_argument("model", type=Path, metavar="MODEL.tflite", help="of any kind")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the interpreter (default: 1)")
    parser.add_argument("--seconds", type=float, default=2, metavar="S", help="of timed runs in all (default: 2)")

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.commands import classify

        found = classify.benchmark(args.model, args.threads, args.seconds)
        median, spread = found["latency_ms"], found["latency_spread_ms"]
        text = f"{median:.4g} ms, spread {spread:.2g} ms over {found['instances']} interpreters\n{found['device']}"
        return Report(text, {"model": str(args.model)} | found)

    return run


def score(parser: argparse.ArgumentParser) -> Run:
    """Score a network by the rules of the on-device vision challenges (OVIC, LPCVC): ImageNet or COCO on a Pixel 2."""
    parser.add_argument("--latency-ms", type=float, required=True, metavar="MS", help="of one image")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--top1", type=float, metavar="A", help="of a classifier, 0..1")
    which.add_argument("--map", type=float, metavar="A", help="of a detector, COCO mAP in 0..1")

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.report import ovic

        if args.map is not None:
            above = ovic.detection_improvement(args.latency_ms, args.map)
            text = f"{100 * above:+.2f} points against the frontier of 2020"
            return Report(text, {"latency_ms": args.latency_ms, "map": args.map, "improvement": above})
        found = ovic.score(args.latency_ms, args.top1)
        return Report(ovic.describe(found), {"latency_ms": args.latency_ms, "top1": args.top1} | found._asdict())

    return run


def search(parser: argparse.ArgumentParser) -> Run:
    """Find the most accurate sub-network for every budget, by an accuracy predictor and latency tables."""
    parser.add_argument("--predictor", type=Path, required=True, metavar="FILE",
                        help="build/predictor/top1.npz, or the published acc_predictor.pth")  # fmt: skip
    budgets = parser.add_mutually_exclusive_group(required=True)
    for flag, about in (("ms", "milliseconds"), ("macs", "multiply-accumulates"), ("params", "parameters")):
        budgets.add_argument(f"--{flag}", type=float, nargs="+", metavar="B", help=f"budgets in {about}")
    parser.add_argument("--table", nargs="+", default=[], metavar="[NAME=]PATH", help="latency tables, one a device; for --ms")
    parser.add_argument("--space", metavar="NAME", help="default: the predictor's")
    parser.add_argument("--width-mult", "--width", type=float, metavar="W", help="default: the predictor's")
    parser.add_argument("--resolutions", type=int, nargs="+", metavar="R", help="default: the table's, or the space's")
    parser.add_argument("--num-classes", type=int, default=1000, metavar="N", help="for --macs and --params (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--engine", default="evolution", help="evolution (default), exact or published")
    parser.add_argument("--effort", default="normal", help="normal (default) or high, ten times as long")
    parser.add_argument("--deviations", type=float, default=0.0, metavar="K", help="maximise top-1 less K of its deviations")
    parser.add_argument("--front", type=Path, metavar="CSV", help="write the Pareto front of every table")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="draw the front of --front beside published networks")

    def run(args: argparse.Namespace) -> Report:
        from tqdm import tqdm

        from ofa_core.commands import search_command as command

        [(quantity, limits)] = ((q, v) for q, v in _budgets(args).items() if v is not None)
        shared = ("predictor", "space", "width_mult", "resolutions", "seed", "engine", "effort", "deviations", "num_classes")
        fields = {name: getattr(args, name) for name in shared}
        request = command.Request(quantity=quantity, limits=limits, tables=args.table, **fields)
        if args.plot and not args.front:
            raise ValueError("--plot: goes with --front")
        rows = command.run(request, args.front, lambda steps: tqdm(steps, leave=False, disable=None))
        if args.plot:
            import pandas as pd

            from ofa_core.report.published import plot_published

            plot_published(args.plot, pd.read_csv(args.front))
        return Report(command.text(rows), {"results": rows})

    return run


def export(parser: argparse.ArgumentParser) -> Run:
    """Convert a network to TFLite, ONNX and other files, compare them with it, and write them with manifest and checksums."""
    add = parser.add_argument
    add("network", nargs="+", type=Path, metavar="NET.config WEIGHTS",
        help="published configuration and weights, or one .safetensors file of this pipeline")  # fmt: skip
    add("--calibrate", type=Path, metavar="DIR", help="folder or .zip of images such as the network will see")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--formats", default="uint8,float,onnx", metavar="uint8,float,onnx",
        help="of uint8, int8, dynamic, float16, float, saved_model, frozen, onnx, torch; these three by default")  # fmt: skip
    add("--resolution", type=int, metavar="R", help="of the input in pixels (default: run.config's image_size)")
    add("--background", action="store_true", help="put a class before all others that never wins (1001 classes)")
    add("--labels", type=Path, metavar="FILE", help="a class a line (default: numbers)")
    add("--imagenet-normalization", action="store_true",
        help="the network was trained with ImageNet's mean and deviation, as once-for-all's; not x / 127.5 - 1")  # fmt: skip
    add("--hard-swish", default="auto", metavar="FORM", help="fused, composed or auto: the faster one here (default)")
    add("--calibration", default="minmax", metavar="METHOD", help="minmax (default), moving_average, percentile or mse")
    add("--keep-float", default="", metavar="A,B", help="layers that stay float in integer files")
    add("--calibration-images", type=int, default=200, metavar="N", help="most to calibrate with (default: 200)")
    add("--seed", type=int, default=0, metavar="N", help="which images those are (default: 0)")
    add("--shorter-side", type=int, metavar="S", help="resize images by it and crop the centre (default: R / 0.875)")

    def run(args: argparse.Namespace) -> Report:
        from ofa_core.export import standalone as publish

        if len(args.network) > 2:
            raise ValueError(f"{args.network[2]}: one file too many; a network is NET.config and WEIGHTS")
        options = {key: value for key, value in vars(args).items() if key not in ("json", "run")}
        split = {key: [part for part in options[key].split(",") if part] for key in ("formats", "keep_float")}
        found = publish.export(**(options | split))
        return Report("\n".join(publish.lines(found, args.out)), found)

    return run


COMMANDS = (check, profile, verify, fetch, cost, search, export, eval, predict, bench, score)

# ------------------------------------------------------------------------------------------------ arguments they may share


def _add_space(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", help="ofa_mbv3, ofa_proxyless, ofa_resnet50, ofa_small or ofa_small_se")
    parser.add_argument("--width-mult", type=float, metavar="W", help="multiplies every width (default: the published one)")


def _space(args: argparse.Namespace) -> "Space":
    from ofa_core.space.registry import get_space

    return get_space(args.space, args.width_mult)


def _budgets(args: argparse.Namespace) -> dict[str, list[float] | None]:
    return {"latency_ms": args.ms, "macs": args.macs, "params": args.params}


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL.tflite", help="ID.labels.txt and manifest.json beside it are used")


def _add_shorter_side(parser: argparse.ArgumentParser) -> None:
    about = "resize images by their shorter side to R pixels and crop the centre, instead of what manifest.json says"
    parser.add_argument("--shorter-side", type=int, metavar="R", help=about)


def _add_arch(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--arch", metavar="JSON|FILE", help='{"ks": [...], "e": [...], "d": [...], "r": 160}, or a file with it')
    which.add_argument("--largest", action="store_true", help="the full network at the largest resolution (default)")
    which.add_argument("--smallest", action="store_true", help="the smallest network at the smallest resolution")


def _arch(args: argparse.Namespace, space: "Space") -> "Arch":
    """A file may hold the architecture itself or, as the search writes it, under "arch"."""
    from ofa_core.run import files
    from ofa_core.space.arch import Arch

    if args.arch is None:
        return space.smallest() if args.smallest else space.largest()
    if args.arch.lstrip().startswith("{"):
        try:
            fields = json.loads(args.arch)
        except json.JSONDecodeError as error:
            raise ValueError(f"--arch: not JSON ({error})") from None
    else:
        fields = files.read_json(args.arch)
    fields = fields.get("arch", fields) if isinstance(fields, dict) else fields
    if not isinstance(fields, dict):
        raise ValueError(f"--arch: {args.arch}: not an object with ks, e, d, r")
    return Arch.from_dict(fields)


# ------------------------------------------------------------------------------------------------------------------- main


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line, as every other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen command's function is in `run`."""
    parser = _Parser(prog="ofa", description="Once-for-all networks: costs, downloads, checks, and released models at work.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        about = " ".join((command.__doc__ or "").split())
        one = commands.add_parser(command.__name__, help=about, description=about)
        one.add_argument("--json", action="store_true", help="print one JSON object")
        one.set_defaults(run=command(one))
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs `ofa` with these arguments (default: the process's); returns the exit code."""
    args = build_parser().parse_args(arguments)
    try:
        report = args.run(args)
        print(json.dumps(report.json, allow_nan=False) if args.json else report.text, flush=True)
    except BrokenPipeError:  # `ofa cost ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
