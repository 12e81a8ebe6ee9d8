"""Reads, writes and hashes files. A file is written completely or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ofa_core.run.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`. It replaces `path` if the block ends without an exception."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path`. It replaces `path` and its old content if the block ends without an exception."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON with sorted keys, so equal content gives equal bytes. Raises InputError for NaN and infinity."""
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Reads JSON. Raises InputError, one line, if the file is missing or broken."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def md5(path: str | Path) -> str:
    """The MD5 of a file's bytes, as in DVC and md5sum."""
    return _digest(path, "md5")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    return _digest(path, "sha256")


def _digest(path: str | Path, algorithm: str) -> str:
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, algorithm).hexdigest()
