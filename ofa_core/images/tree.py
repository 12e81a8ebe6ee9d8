"""One interface to the files in a folder or a .zip archive: names relative to the top, and a method to read them."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ofa_core.run.errors import InputError


class Tree:
    """A folder or a .zip archive; archives are not unpacked. Use it in a `with` statement.

    files, folders: names relative to the top, with "/" between parts, sorted. Symbolic links are followed. Hidden names are
    left out: those with a part that is `__MACOSX` or starts with a dot, such as `..`. hidden_files: number of hidden files.

    Raises InputError, naming the path, if it does not exist or is a file but not an archive.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._archive: zipfile.ZipFile | None = None
        if self.path.is_dir():
            names = list(_walk(self.path))
        elif self.path.is_file():
            try:
                self._archive = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile:
                raise InputError(f"{self.path}: neither a folder nor a whole .zip archive") from None
            names = self._archive.namelist()
        else:
            raise InputError(f"{self.path}: no such folder or .zip archive")
        visible = [name for name in names if not any(map(_hidden, name.rstrip("/").split("/")))]
        self.files = sorted({name for name in visible if not name.endswith("/")})
        self.folders = sorted({folder for name in visible for folder in _parents(name)})
        self.hidden_files = sum(not name.endswith("/") for name in names) - len(self.files)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._archive:
            self._archive.close()

    def read(self, name: str) -> bytes:
        """The content of a file. Thread-safe. Raises InputError with the reason if the file cannot be read."""
        try:
            return self._archive.read(name) if self._archive else (self.path / name).read_bytes()
        except OSError as error:
            raise InputError(error.strerror or str(error)) from None
        except (KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
            raise InputError(f"damaged archive: {error}") from None

    def size(self, name: str) -> int:
        """The size of a file in bytes; 0 for a dangling link."""
        if self._archive:
            return self._archive.getinfo(name).file_size
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def full(self, name: str) -> str:
        """The name with the path of the tree in front, for messages."""
        return (self.path / name).as_posix()


def _walk(top: Path) -> Iterator[str]:
    """Relative names of all files and, with a trailing slash, folders."""
    for folder, folders, names in os.walk(top, followlinks=True):
        here = Path(folder)
        # Skip links to a folder above: following them would never end.
        above = {here.resolve(), *here.resolve().parents}
        folders[:] = [name for name in folders if not (here / name).is_symlink() or (here / name).resolve() not in above]
        prefix = "" if here == top else f"{here.relative_to(top).as_posix()}/"
        yield from (f"{prefix}{name}/" for name in folders)
        yield from (f"{prefix}{name}" for name in names)


def _hidden(part: str) -> bool:
    return part in ("", "__MACOSX") or part.startswith(".")


def _parents(name: str) -> Iterator[str]:
    """The folders that contain a name. A name with a trailing slash counts as its own lowest folder."""
    parts = name.split("/")
    yield from ("/".join(parts[:i]) for i in range(1, len(parts)))
