"""The files below a folder, or in a .zip archive, in one form: names relative to the top, and a way to read them."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType


class Tree:
    """A folder or a .zip archive, of which nothing is unpacked; to be used in a `with` statement.

    files, folders: names relative to the top, "/" between their parts, sorted. Hidden ones are left out (a part with a leading
    dot, which `..` is as well, or `__MACOSX`); hidden_files counts them. Symbolic links are followed.

    Raises ValueError that names the path when there is nothing at it, or a file that is no archive.
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
                raise ValueError(f"{self.path}: neither a folder nor a whole .zip archive") from None
            names = self._archive.namelist()
        else:
            raise ValueError(f"{self.path}: no such folder or .zip archive")
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
        """The content of a file; may be called from several threads. Raises ValueError, the reason, when it cannot be read."""
        try:
            return self._archive.read(name) if self._archive else (self.path / name).read_bytes()
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from None
        except (KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: it is encrypted
            raise ValueError(f"damaged archive: {error}") from None

    def size(self, name: str) -> int:
        """The bytes of a file; 0 where a link leads nowhere."""
        if self._archive:
            return self._archive.getinfo(name).file_size
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def full(self, name: str) -> str:
        """The name with the tree's own path before it, for messages."""
        return (self.path / name).as_posix()


def _walk(top: Path) -> Iterator[str]:
    """Relative names of all files and, with a trailing slash, folders."""
    for folder, folders, names in os.walk(top, followlinks=True):
        here = Path(folder)
        # A link to a folder above itself would never end.
        above = {here.resolve(), *here.resolve().parents}
        folders[:] = [name for name in folders if not (here / name).is_symlink() or (here / name).resolve() not in above]
        prefix = "" if here == top else f"{here.relative_to(top).as_posix()}/"
        yield from (f"{prefix}{name}/" for name in folders)
        yield from (f"{prefix}{name}" for name in names)


def _hidden(part: str) -> bool:
    return part in ("", "__MACOSX") or part.startswith(".")


def _parents(name: str) -> Iterator[str]:
    """The folders above a name; a name with a trailing slash is its own lowest one."""
    parts = name.split("/")
    yield from ("/".join(parts[:i]) for i in range(1, len(parts)))
