"""`ofa make` from beginning to end: look, plan, write, run, tell."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ofa_core.latency.table import LatencyTable
from ofa_core.make import project, result, source, wording
from ofa_core.make.duration import Speed
from ofa_core.make.plan import Plan, make_plan, profile_for
from ofa_core.make.progress import Progress, locked, repro
from ofa_core.make.request import HOST, Request, command
from ofa_core.make.survey import Survey, survey
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.run.params import ParamsFile, parse
from ofa_core.runtime.android import AndroidDevice
from ofa_core.search.budget import Budget, cost_range
from ofa_core.space.params import SpaceParams
from ofa_core.training.params import TrainingParams

Row = dict[str, Any]
NEEDED = ("dvc", "matplotlib", "tensorflow", "torch")
"""Packages of the pipeline that the command itself does not import."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A plan and what it was made from. text: params.yaml."""

    found: Survey
    plan: Plan
    text: str
    lines: list[str]


def make(request: Request, dry_run: bool, say: Callable[[str], None]) -> tuple[list[str], dict[str, Any]]:
    """Makes the models; returns the last lines to show, and what --json prints: project, planned minutes and seconds, models.

    say: is given lines to show at once. dry_run: ends with the plan and writes nothing.
    Raises InputError, one line: anything wrong with photos, request or project before something is written; later a budget that
    no network meets, or a stage that failed.
    """
    roots = source.root()
    _check_installed()
    state = project.read_state(request.out)
    if dry_run:
        outline = _outline(request, roots[0], state)
        return outline.lines, _json(request, outline.plan.seconds, {}, [])
    if state is None:
        outline = _outline(request, roots[0], None)
        with files.replacing_folder(request.out) as new:  # a project is there as a whole or not at all
            _write(roots, request, outline, new, say)
        with locked(request.out) as lock:
            return _run(request, outline.plan.seconds, lock, say)
    with locked(request.out) as lock:
        project.refresh_index(request.out)
        changed = project.photos_digest(request.out) != state["photos"]
        if state["request"] == request.to_json() and not changed:
            minutes = sum(state["seconds"].values()) / 60
            say(f"going on with {request.out}, planned for about {wording.duration(minutes)} in all")
            return _run(request, state["seconds"], lock, say)
        say(f"{request.out}: planned again, because {'the photos' if changed else 'the arguments'} changed")
        outline = _outline(request, roots[0], None if changed else state)
        _write(roots, request, outline, request.out, say)
        return _run(request, outline.plan.seconds, lock, say)


def _check_installed() -> None:
    """Raises ModuleNotFoundError, which `ofa` turns into advice, and InputError without git."""
    for name in NEEDED:
        if find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
    if shutil.which("git") is None:
        raise InputError("git: not installed; a project is a git repository")


def _outline(request: Request, root: Path, state: Mapping[str, Any] | None) -> Outline:
    """Looks at the photos and plans. state: of a project whose photos are the same, so that its measurements are used again.

    Another measurement would change the number of epochs a little, and so train everything anew.
    """
    if request.device != HOST:
        _check_phone(request)
    found = survey(request.photos)
    known = state["speed"] if state else {}
    if known:
        found = replace(found, decode_seconds=known["decode_seconds"])
    base = project.base_text(root, profile_for(found))

    def measure(params: Mapping[str, Any]) -> Speed:
        space, training = params["space"], params["training"]
        if known.get("of") == _conditions(params, found):
            return Speed(**{field.name: known[field.name] for field in fields(Speed)})
        from ofa_core.make import speed  # torch

        built = SpaceParams(**space | {"resolutions": tuple(space["resolutions"])}).build()
        shared = parse(TrainingParams, training, "training")
        return speed.measure(built, len(found.classes), shared, params["prepare"]["image_size"])

    plan = make_plan(request, found, ParamsFile("params.yaml", base).content, _cores(), measure)
    lines = wording.lines(request, found, plan)
    about = [f"Written by `{command(request.to_json(), request.out)}`.", "", *lines]
    about += ["", "A comment says why a value differs from the profile's. docs/params.md explains every key."]
    return Outline(found=found, plan=plan, text=project.params_text(base, plan.decisions, about), lines=lines)


def _check_phone(request: Request) -> None:
    try:
        AndroidDevice(request.program or "", request.serial)
    except InputError as error:
        raise InputError(f"--device: {request.device}: {error}") from None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _conditions(params: Mapping[str, Any], found: Survey) -> list[Any]:
    """What the measured speed depends on, as JSON values, apart from the machine."""
    training = params["training"]
    return [params["space"], training, params["prepare"]["image_size"], len(found.classes)]


def _json(request: Request, seconds: Mapping[str, float], took: Mapping[str, float], models: list[Row]) -> dict[str, Any]:
    planned, real = ({stage: round(value, 1) for stage, value in of.items()} for of in (seconds, took))
    return {"project": str(request.out), "planned_seconds": planned, "seconds": real, "models": models}


def _write(roots: tuple[Path, Path], request: Request, outline: Outline, out: Path, say: Callable[[str], None]) -> None:
    """Says the plan and writes it to the folder `out`, then says what else changed."""
    plan, found = outline.plan, outline.found
    speed = asdict(plan.speed) | {"of": _conditions(plan.params, found), "decode_seconds": found.decode_seconds}
    state = {"request": request.to_json(), "seconds": plan.seconds, "speed": speed}
    words = {"name": request.out.name, "photos": str(request.photos), "command": command(request.to_json(), request.out)}
    for line in outline.lines:
        say(line)
    for line in project.write(roots, out, plan, outline.text, state, words):
        say(f"  {line}")


def _run(
    request: Request, seconds: Mapping[str, float], lock: int, say: Callable[[str], None]
) -> tuple[list[str], dict[str, Any]]:
    """Runs the pipeline, the latency table first: a budget that no network meets should not be found out after the training."""
    progress = Progress(seconds)
    if request.ms:
        repro(request.out, progress, lock, [f"build_latency_table@{request.device_name}"])
        for note in _check_budgets(request):
            say(note)
    repro(request.out, progress, lock)
    project.commit(request.out, "Release")
    rows = result.models(request.out)
    lines = [*result.table(rows), *result.following(request.out, rows)]
    if ran := {stage: value for stage, value in progress.took.items() if stage in seconds}:
        times = [wording.duration(sum(values) / 60) for values in (ran.values(), (seconds[stage] for stage in ran))]
        lines.insert(0, f"{len(ran)} of {len(seconds)} stages ran and took {times[0]}; planned were {times[1]}")
    return lines, _json(request, seconds, progress.took, rows)


def _check_budgets(request: Request) -> list[str]:
    """Notes about budgets above the slowest network. Raises InputError for a budget that no network meets."""
    space = ParamsFile(request.out / "params.yaml").read("space", SpaceParams).build()
    table = LatencyTable.load(request.out / paths.latency_table(request.device_name))
    lowest, highest = cost_range(space, Budget(quantity="latency_ms", limit=1).cost(space, table, space.resolutions))
    for value in request.ms:
        if value < lowest:
            reach = f"the fastest network takes {lowest:.3g} ms on this device, the slowest {highest:.3g} ms"
            raise InputError(f"--ms: {value:g}: {reach}; give at least the first")
    return [f"--ms {value:g}: the slowest network takes only {highest:.3g} ms" for value in request.ms if value > highest]
