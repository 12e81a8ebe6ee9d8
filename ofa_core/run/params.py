"""Typed, strict reading of params.yaml: one frozen dataclass per section; errors name key, value and what is allowed.

The file is read as YAML 1.2, as DVC reads it: `1e-3` is a number there, while YAML 1.1 readers make it a string.
A section's dataclass is next to the code that uses it and is declared with `@section`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, overload

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ofa_core.run.errors import InputError

T = TypeVar("T")
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
"""Pydantic's types of error for a key that does not exist."""
MOVED = {f"training.{key}": f"machine.{key}" for key in ("launcher", "tensorboard", "checkpoint_seconds")}
"""Keys of older parameter files and where they are now."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def section(cls: type[T]) -> type[T]:
    """Makes a class a section: frozen, keyword-only, no unknown or missing key, no silent conversion of types.

    `__post_init__` may check what types cannot express. A ValueError it raises begins with the key's name and a colon.
    """
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
    return dataclass(frozen=True, kw_only=True, config=config)(cls)  # type: ignore[return-value]


class ParamsFile:
    """A parameter file. Remembers which sections were read, so that a stage can tell whether they changed during its run.

    text: the content, instead of reading the file from disk.
    Raises InputError, one line, if the file is missing, not YAML or not a mapping.
    """

    def __init__(self, path: str | Path = "params.yaml", text: str | None = None) -> None:
        self.path = Path(path)
        self.text = _read(self.path) if text is None else text
        self.content = _load(self.path, self.text)
        self.used: dict[str, Any] = {}

    @overload
    def read(self, name: str, kind: type[T]) -> T: ...
    @overload
    def read(self, name: str, kind: object) -> Any: ...  # such as a Literal, not a type to type checkers
    def read(self, name: str, kind: Any) -> Any:
        """The section `name` as a `kind`: a section's dataclass, or the type of a key inside it (dotted name).

        Raises InputError, one line that names file, key, value and what is allowed.
        """
        self.used[name] = self.raw(name)
        return self.peek(name, kind)

    def peek(self, name: str, kind: type[T]) -> T:
        """Like `read`, for a section that changes no result. It does not count as used, so it may change at any time."""
        return parse(kind, self.raw(name), f"{self.path}: {name}")

    def raw(self, name: str) -> Any:
        """The section as plain YAML values. Raises InputError if it is missing."""
        value = self.content
        for i, part in enumerate(parts := name.split(".")):
            if not isinstance(value, Mapping) or part not in value:
                raise InputError(f"{self.path}: {'.'.join(parts[: i + 1])}: missing")
            value = value[part]
        return value

    def changed(self) -> list[str]:
        """Names of the sections read so far whose value in the file has changed."""
        now = ParamsFile(self.path)
        return [name for name, value in self.used.items() if now.raw(name) != value]


def parse(kind: type[T], raw: Any, where: str) -> T:
    """`raw` as a `kind`; `where` begins the error. Raises InputError, one line: where, key, value, what is allowed."""
    try:
        # Strict, but a YAML list may be a tuple: the rules of pydantic's JSON mode.
        return TypeAdapter(kind).validate_json(_to_json(raw, where), strict=True)
    except ValidationError as error:
        # A misspelt key is both unknown and missing. The one in the file is reported first.
        first = min(error.errors(include_url=False), key=lambda found: found["type"] not in UNKNOWN)
        raise InputError(_message(where, first, error.error_count() - 1)) from None


def _message(where: str, error: Any, others: int) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    more = f" (and {others} more)" if others else ""
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where}{key}: missing{more}"
    if error["type"] in UNKNOWN:
        name = f"{where}{key}".rpartition(" ")[2]
        return f"{where}{key}: unknown key{f'; it is {MOVED[name]} now' if name in MOVED else ''}{more}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        separator = "." if re.match(r"[\w.\[\]]+: ", message) else ": "  # does the message begin with a key?
        return f"{where}{key}{separator}{message}{more}"
    return f"{where}{key}: {error['input']!r}: {message[0].lower()}{message[1:]}{more}"


def _to_json(raw: Any, where: str) -> bytes:
    try:
        return TypeAdapter(Any).dump_json(raw)
    except Exception:
        raise InputError(f"{where}: {raw!r} is not made of numbers, text, lists and mappings") from None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _load(path: Path, text: str) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping of sections")
    return content
