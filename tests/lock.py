"""Whether dvc.lock matches what is committed: `python -m tests.lock`, without any data.

`dvc repro --dry --allow-missing` would be the natural check. But in a clone without build/ it stops at the first outdated
stage, with "[Errno 2] No such file" about a file of that folder. `dvc status` checks every stage and reports each dependency
and output that is modified or missing. If it is missing and ignored by git, it is data that a clone does not have.
Everything else is a stage that was not run after a change.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

MISSING = ("deleted", "not in cache")
"""What `dvc status` says of missing files."""
Status = Mapping[str, Sequence[Any]]
"""The JSON of `dvc status`: by stage, "changed command" or {"changed deps" or "changed outs": {path: state}}."""


def outdated(status: Status, ignored: Collection[str]) -> dict[str, list[str]]:
    """What changed since each stage ran, by stage. ignored: paths that git ignores."""
    found = {stage: [change for entry in entries for change in _changes(entry, ignored)] for stage, entries in status.items()}
    return {stage: changes for stage, changes in found.items() if changes}


def apart(lock: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stages of dvc.lock that ran on other bytes than the previous stage wrote, with the files."""
    stages = lock["stages"]
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    found = {
        name: [f"{dep['path']} made anew" for dep in stage["deps"] if made.get(dep["path"], dep["md5"]) != dep["md5"]]
        for name, stage in stages.items()
    }
    return {name: changes for name, changes in found.items() if changes}


def _changes(entry: Any, ignored: Collection[str]) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
        return
    for path, state in _states(entry):
        if isinstance(state, dict):  # a parameter file: its sections
            yield from (f"{path}: {section} {how}" for section, how in state.items())
        elif not (state in MISSING and path in ignored):
            yield f"{path} {state}"


def _states(entry: Any) -> Iterator[tuple[str, Any]]:
    """(path, state) of an entry of a stage's status."""
    for states in entry.values() if isinstance(entry, dict) else ():
        yield from states.items()


def _ignored(status: Status) -> set[str]:
    """The paths in a status that git ignores."""
    paths = sorted({path for entries in status.values() for entry in entries for path, _ in _states(entry)})
    command = ["git", "check-ignore", "--stdin"]
    return set(subprocess.run(command, input="\n".join(paths), capture_output=True, text=True, check=False).stdout.splitlines())


def main() -> int:
    """Prints the outdated stages, or DVC's message if it cannot tell. The exit code is 0 if there are none."""
    done = subprocess.run(["dvc", "status", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, end="", file=sys.stderr)
        return done.returncode
    status = json.loads(done.stdout)
    found = apart(yaml.safe_load(Path("dvc.lock").read_text())) | outdated(status, _ignored(status))
    for stage, changes in found.items():
        print(f"{stage}: {', '.join(changes)}")
    if found:
        print("dvc.lock is out of date: run 'make repro' and commit dvc.lock, reports/ and release/")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
