"""A released TFLite file and what lies beside it: labels (ID.labels.txt), and its entry in manifest.json."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.tasks.registry import get_task
from ofa_core.tasks.task import Task


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns an interpreter's errors about files it cannot run into one line that names the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{path}: ").removeprefix("model: ")
        raise InputError(f"{path}: {reason}") from None


def labels_path(path: Path) -> Path:
    """Where the labels of ID.tflite and ID_float.tflite are."""
    return path.with_name(path.stem.removesuffix("_float") + paths.SUFFIXES["labels"])


def read_labels(path: Path) -> list[str] | None:
    """The names of a model's classes; None without a file."""
    found = labels_path(path)
    return found.read_text().splitlines() if found.is_file() else None


def preprocessing(path: Path, task: Task) -> dict[str, Any]:
    """The preprocessing of a file's manifest entry; {} without one. task: what the outputs of the file are.

    Raises InputError, one line, for a broken manifest, and if the entry has another task.
    """
    manifest = path.with_name("manifest.json")
    if not manifest.is_file():
        return {}
    content = files.read_json(manifest)
    try:
        found = [(entry["task"], dict(entry["preprocessing"])) for entry in content["models"] if path.name in _names(entry)]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{manifest}: not a release's manifest; `ofa verify` checks one") from None
    if not found:
        return {}
    name, rule = found[0]
    try:
        known = get_task(str(name))
    except InputError as error:
        raise InputError(f"{manifest}: {error}") from None
    if known.name != task.name:
        raise InputError(f"{manifest}: task: {name!r}, but the outputs of {path.name} are those of {task.name}")
    return rule


def _names(entry: Mapping[str, Any]) -> set[str]:
    return {file["name"] for file in entry["files"].values()}
