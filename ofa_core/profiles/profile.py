"""Profiles: parameter files that hold only what differs from params/default.yaml.

Mappings merge key by key. A mapping whose keys are names that the user chooses (`shrink.phases`, `search.targets`, ...)
replaces the default's as a whole, so no phase or target of the default is left over.
"""

import os
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from ofa_core.datasets.detection_params import PrepareDetectionParams
from ofa_core.datasets.index import write_detection_index, write_index
from ofa_core.datasets.params import PrepareParams
from ofa_core.profiles.check import check_params
from ofa_core.profiles.sections import entries
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.run.params import ParamsFile

FOLDER = Path("params")
DEFAULT = FOLDER / "default.yaml"
"""The complete profile, relative to the repository root like all the pipeline's paths."""
PARAMS = Path("params.yaml")
"""What the pipeline reads."""
SCHEMA = Path("docs/params.schema.json")
"""Schema of a complete file, for editors; docs/profile.schema.json is for profiles."""
IMAGES_CHANGED = "{}: changed, so `dvc repro` prepares the images again"
MODELINE = "# yaml-language-server: $schema="


class Written(NamedTuple):
    """path: of the profile. lost: one line for each value of the overwritten file that the new one does not have.
    existed: whether there was a file."""

    path: Path
    lost: list[str]
    existed: bool


def names() -> dict[str, str]:
    """The profiles in params/, each with the first sentence of its head comment. Raises InputError if there are none."""
    if not DEFAULT.is_file():
        raise InputError(f"{DEFAULT}: no such file; profiles are in the repository, so run this in its root")
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        head = _split(path.read_text())[0]
        found[path.stem] = head[0].removeprefix("# ") if head else ""
    return found


def find(name: str) -> Path:
    """The file of a profile. name: one in params/, or a path: it has a slash or ends in .yaml."""
    path = Path(name)
    if "/" not in name and path.suffix != ".yaml":
        path = FOLDER / f"{name}.yaml"
        if name not in (known := names()):
            raise InputError(f"{name}: no such profile; there are {', '.join(known)}")
    return path


def complete(path: Path, out: Path = PARAMS) -> ParamsFile:
    """The complete parameters of the profile at `path`, checked, with the text to write to `out`.

    Raises InputError as `check` does, for the profile's own path.
    """
    ParamsFile(path)  # one-line error if missing, not YAML or not a mapping
    if not DEFAULT.is_file():
        raise InputError(f"{DEFAULT}: no such file; profiles are completed from it, so run this in the repository's root")
    head, changes = _split(path.read_text())[0], []
    if path.resolve() != DEFAULT.resolve():
        changes = [path.read_text()]
        head = [*head, "#", f"# Written by `ofa profile`: params/default.yaml with the changes of {path.as_posix()}."]
        head += ["# docs/params.md explains every key, `ofa check` checks them."]
    schema = f"{MODELINE}{os.path.relpath(SCHEMA, out.parent)}"
    params = ParamsFile(path, "\n".join([schema, *head, "", merged(DEFAULT.read_text(), changes)]))
    check_params(params)
    return params


def merged(default: str, changes: Iterable[str]) -> str:
    """The sections of a complete file: those of `default` with the changes of one profile after the other.

    All are texts of YAML files. Comments at the top of a file are left out; one on the line of a changed value comes with it.
    """
    yaml = _yaml()
    content = yaml.load(_split(default)[1])
    for text in changes:
        _merge(content, yaml.load(_split(text)[1]), entries())
    stream = StringIO()
    yaml.dump(content, stream)
    return re.sub(r"\n+(?=\w)", "\n\n", stream.getvalue())  # a blank line before each section


def check_file(path: Path) -> bool:
    """Checks a parameter file as `check` does, or a profile as `complete` does; returns whether it is a profile.

    A pipeline runs with params.yaml in the working folder, or next to a dvc.yaml, so that file must be complete. So must
    any file if there is no default to complete it from.
    """
    runs = path.name == PARAMS.name and (path == PARAMS or path.with_name("dvc.yaml").is_file())
    if runs or not DEFAULT.is_file():
        check_params(ParamsFile(path))
        return False
    complete(path)
    return True


def write(name: str, out: Path = PARAMS) -> Written:
    """Writes the complete parameters of a profile to `out`, whole or not at all; `name` as for `find`.

    Raises InputError, one line that names file and key, before anything is written.
    """
    path = find(name)
    new = complete(path, out)
    existed, lines = out.exists(), []
    if existed:
        try:
            lines = lost(ParamsFile(out).content, new.content)
        except InputError as error:  # a broken file may be overwritten
            lines = [str(error)]
    files.write_bytes(out, new.text.encode())
    return Written(path, lines, existed)


def refresh_indexes() -> list[str]:
    """Updates the indexes of the images to the working folder's params.yaml; returns a line for each that changed."""
    params = ParamsFile(PARAMS)
    changed = {paths.IMAGE_INDEX: write_index(params.read("prepare", PrepareParams))}
    if params.raw("detectors"):
        detection = params.read("prepare_detection", PrepareDetectionParams)
        changed[paths.DETECTION_INDEX] = write_detection_index(detection)
    return [IMAGES_CHANGED.format(path) for path, is_new in changed.items() if is_new]


def lost(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each key of `old` whose value is not in `new`, such as `training.batch_size: 64 -> 32`."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{key}: {_shown(value)} -> {_shown(after[key]) if key in after else 'gone'}"
        for key, value in before.items()
        if value != {} and (key not in after or after[key] != value)  # an empty mapping holds nothing to lose
    ]


def _leaves(content: Mapping[str, Any], name: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and values of everything that is not a mapping with keys."""
    found = []
    for key, value in content.items():
        inner = isinstance(value, Mapping) and value
        found += _leaves(value, f"{name}{key}.") if inner else [(f"{name}{key}", value)]
    return found


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else str(value)


def _split(text: str) -> tuple[list[str], str]:
    """The comment lines at the top of a file, without the one for editors, and the rest."""
    lines = text.splitlines()
    length = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line for line in lines[:length] if not line.startswith(MODELINE)], "\n".join(lines[length:]) + "\n"


class _Representer(RoundTripRepresenter):
    """Writes null as a word."""


_Representer.add_representer(type(None), lambda self, value: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 4096  # one entry per line, however long
    yaml.preserve_quotes = True
    return yaml


def _merge(base: CommentedMap, changes: CommentedMap, whole: Mapping[str, type], name: str = "") -> None:
    """Puts the values of `changes` into `base`, with their comments. whole: mappings that are replaced, not merged."""
    for key, value in changes.items():
        inner = f"{name}{key}"
        if inner not in whole and isinstance(value, CommentedMap) and isinstance(base.get(key), CommentedMap):
            _merge(base[key], value, whole, f"{inner}.")
            continue
        base[key] = value
        comments = changes.ca.items.get(key, ())
        if any(token.value.strip() for token in comments if isinstance(token, CommentToken)):
            base.ca.items[key] = comments
        _cut_comments(base, key)


def _cut_comments(node: CommentedMap | CommentedSeq, key: Any) -> None:
    """Keeps only the comment on a value's own line. What follows belongs to the next key, which may differ here."""
    for token in node.ca.items.get(key, ()):
        if isinstance(token, CommentToken):
            token.value = token.value.split("\n", 1)[0] + "\n"
    value = node[key]
    if isinstance(value, CommentedMap) and value:
        _cut_comments(value, list(value)[-1])
    elif isinstance(value, CommentedSeq) and value:
        _cut_comments(value, len(value) - 1)
