"""Writes the project of a plan: code, dvc.yaml, params.yaml with the reasons as comments, git and DVC initialised.

A project is a whole pipeline by itself: what DVC watches are folders of code, so it has a copy of this version's. The photos
stay where they are.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ofa_core.datasets.index import write_index
from ofa_core.datasets.params import PrepareParams
from ofa_core.make.plan import Decision, Plan, Profile
from ofa_core.profiles.check import check_params
from ofa_core.profiles.profile import MODELINE, lost, merged
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.run.params import ParamsFile

STATE = "make.json"
"""What the project was made for; it tells a project from any other folder."""
LOG = "make.log"
COPIED = ("stages", "params", "docs/params.md", "docs/own-device.md", "docs/params.schema.json", "docs/profile.schema.json",
        ".dvcignore", ".gitignore", ".gitattributes")  # fmt: skip
"""What is copied as it is."""
DVC_CONFIG = "[core]\n    analytics = false\n    autostage = true\n    check_update = false\n"
COLUMN = 26
"""Where comments begin in the shipped profiles."""
README = """# {name}

Once-for-all networks for the photos in `{photos}`, made by `{command}`. The same command goes on where it was stopped.

* `params.yaml`: every value, with the reason where it was decided for these photos. docs/params.md explains the keys.
* `release/`: models, cards, manifest, checksums. `reports/`: measurements and plots.
* After an edit: `ofa check`, then `dvc repro` in this folder, in the Python environment of `ofa`.
"""


def base_text(root: Path, profile: Profile) -> str:
    """The sections of the complete parameter file that decisions change. root: see `source.root`."""
    changes = [(root / f"params/{profile.name}.yaml").read_text()] if profile.name != "default" else []
    return merged((root / "params/default.yaml").read_text(), [*changes, *[profile.changes] * bool(profile.changes)])


def params_text(base: str, decisions: Sequence[Decision], about: Sequence[str]) -> str:
    """params.yaml: `base`, from `base_text`, with the decisions, each with its reason. about: lines for its head."""
    head = [f"{MODELINE}docs/params.schema.json", *(f"# {line}".rstrip() for line in about)]
    return "\n".join([*head, "", merged(base, [changes_text(decisions)])])


def changes_text(decisions: Sequence[Decision]) -> str:
    """The decisions as a profile, with the reasons as comments; of several for a key, the last one."""
    last = {decision.key: decision for decision in decisions}
    lines: list[str] = []
    above: list[str] = []
    for decision in sorted(last.values(), key=lambda one: one.key.split(".")[:-1]):
        *names, key = decision.key.split(".")
        shared = next(
            (i for i, pair in enumerate(zip(above, names, strict=False)) if pair[0] != pair[1]), min(len(above), len(names))
        )
        lines += [f"{'  ' * i}{names[i]}:" for i in range(shared, len(names))]
        line = f"{'  ' * len(names)}{key}: {_flow(decision.value)}"
        lines.append(f"{line:<{COLUMN}} # {decision.reason}" if decision.reason else line)
        above = names
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value on one line, as the shipped profiles write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value not in ("null", "true", "false") else _quoted(value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else repr(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def pipeline_text(text: str, targets: Sequence[str], phases: Sequence[str], detectors: Sequence[str] = ()) -> str:
    """dvc.yaml with the plots and artifacts of these targets and phases, which DVC cannot make of parameters.

    detectors: names of their targets.
    """
    stages = re.split(r"(?m)^(?:#[^\n]*\n)*plots:\n", text)[0]
    losses = [f"        reports/shrink/{phase}.csv: loss" for phase in phases]
    looks = [f"        reports/shrink/{phase}_val.csv: [smallest, middle, largest]" for phase in phases]
    plots = ["# Plots that draw several files together.", "plots:", "  - losses:", "      title: Training loss of all phases"]
    plots += ["      x: epoch", "      y:", "        reports/train_supernet.csv: loss", *losses, "  - validation:"]
    plots += ["      title: Top-1 on val while the super-network trains", "      x: epoch", "      y:", *looks]
    models = [
        f"  ofa-{target}: {{path: release/ofa-{target}.tflite, type: model, desc: 'Full-integer TFLite, target {target}', "
        "labels: [tflite, uint8]}"
        for target in targets
    ]
    models += [
        f"  det-{target}: {{path: release/det-{target}.tflite, type: model, "
        f"desc: 'Full-integer TFLite detector, target {target}', labels: [tflite, uint8]}}"
        for target in detectors
    ]
    return stages + "\n".join([*plots, "", "artifacts:", *models]) + "\n"


def read_state(out: Path) -> dict[str, Any] | None:
    """What the project in `out` was made for; None if there is no folder or an empty one.

    Raises InputError for a folder or file that is something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / STATE).is_file():
        raise InputError(f"--out: {out}: holds other files; name a new folder, or one that `ofa make` has made")
    state = files.read_json(out / STATE)
    if not isinstance(state, dict) or not {"request", "speed", "seconds", "photos"} <= set(state):
        raise InputError(f"{out / STATE}: not written by `ofa make`")
    return state


def write(
    roots: tuple[Path, Path], out: Path, plan: Plan, text: str, state: Mapping[str, Any], words: Mapping[str, str]
) -> list[str]:
    """Writes the project, or changes one to another plan; returns a line for each value that the old params.yaml had otherwise.

    roots: from `source.root`. text: params.yaml. state: for `STATE`, written last, so that a project that is there is complete.
    words: for the README. What was in the project is committed first, so no edit is lost.
    """
    new = ParamsFile(out / "params.yaml", text)
    check_params(new)
    lines = []
    if (out / STATE).is_file():
        commit(out, "As it was before another plan")
        lines = lost(ParamsFile(out / "params.yaml").content, new.content)
    root, package = roots
    _copy(package, out / "ofa_core")
    for name in COPIED:
        _copy(root / name, out / name)
    targets, phases = list(plan.params["search"]["targets"]), list(plan.params["shrink"]["phases"])
    files.write_bytes(out / "dvc.yaml", pipeline_text((root / "dvc.yaml").read_text(), targets, phases).encode())
    files.write_bytes(out / "README.md", README.format(**words).encode())
    files.write_bytes(out / "params.yaml", text.encode())
    refresh_index(out)
    if not (out / ".git").exists():
        _run(out, "git", "init", "-q")
    _ignore(out, f"/{LOG}")
    if not (out / ".dvc").exists():
        _run(out, "git", "add", "-A")  # before DVC's own files: its first commit would miss nothing
        (out / ".dvc").mkdir()
        files.write_bytes(out / ".dvc/config", DVC_CONFIG.encode())
        files.write_bytes(out / ".dvc/.gitignore", b"/config.local\n/tmp\n/cache\n")
    files.write_json(out / STATE, {**state, "photos": photos_digest(out)})
    commit(out, f"Plan: {words['command']}")
    return lines


def photos_digest(out: Path) -> str:
    """Changes when the project's index of the photos does."""
    return files.md5(out / paths.IMAGE_INDEX)


def refresh_index(out: Path) -> None:
    """Updates the project's index of the photos, which `prepare` depends on."""
    write_index(ParamsFile(out / "params.yaml").read("prepare", PrepareParams), out / paths.IMAGE_INDEX)


def commit(out: Path, message: str) -> None:
    """Commits everything in the project, if anything changed."""
    _run(out, "git", "add", "-A")
    if not _run(out, "git", "status", "--porcelain"):
        return
    known = subprocess.run(["git", "config", "user.email"], cwd=out, capture_output=True, check=False).returncode == 0
    who = [] if known else ["-c", "user.name=ofa", "-c", "user.email=ofa@localhost"]
    _run(out, "git", *who, "commit", "-q", "--no-verify", "-m", message)


def _ignore(out: Path, line: str) -> None:
    path = out / ".gitignore"
    if line not in (lines := path.read_text().splitlines()):
        files.write_bytes(path, "\n".join([*lines, line, ""]).encode())


def _copy(source: Path, to: Path) -> None:
    """Copies a file, or makes a folder equal to another one; files that are equal already keep their times."""
    if not source.is_dir():
        if not to.is_file() or to.read_bytes() != source.read_bytes():
            files.write_bytes(to, source.read_bytes())
        return
    names = {path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    for name in names:
        _copy(source / name, to / name)
    for path in [path for path in to.rglob("*") if path.is_file() and "__pycache__" not in path.parts]:
        if path.relative_to(to) not in names:
            path.unlink()


def _run(folder: Path, *command: str) -> str:
    """A command's output. Raises InputError with its last line if it fails or is not installed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | _identity()
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        raise InputError(f"{command[0]}: not installed; the project is a {command[0]} repository") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InputError(f"{folder}: {' '.join(command[:2])}: {said}")
    return done.stdout


def _identity() -> dict[str, str]:
    """Who commits, where the environment says so; the rest of git's variables may name another repository."""
    return {key: value for key, value in os.environ.items() if key.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_"))}
