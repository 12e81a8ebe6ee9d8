"""Class names from a text file. They become the labels of released models."""

from pathlib import Path

from ofa_core.run.errors import InputError


def read_names(path: str | Path) -> tuple[str, ...]:
    """Reads one name per line, starting with class 0.

    Raises InputError, naming the file, if it is missing or empty or has a line without a name.
    """
    lines = _lines(path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{path}: line {number}: no name")
    return tuple(line.strip() for line in lines)


def read_mapping(path: str | Path) -> dict[str, str]:
    """Reads one class per line: folder name, space or tab, display name, as in `n01440764 tench, Tinca tinca`.

    Raises InputError, naming file and line: file missing or empty, a line without two words, a folder that appears twice.
    """
    names: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        folder, *rest = line.split(maxsplit=1) or [""]
        if not rest:
            raise InputError(f"{path}: line {number}: expected a folder and a name")
        if folder in names:
            raise InputError(f"{path}: line {number}: {folder} appears twice")
        names[folder] = rest[0].strip()
    return names


def rename(classes: tuple[str, ...], path: str | Path) -> tuple[str, ...]:
    """Replaces class folders by the names in a file for `read_mapping`. If names are equal, the folder is added to each.

    Raises InputError, naming the file, for a class that it lacks.
    """
    names = read_mapping(path)
    for folder in classes:
        if folder not in names:
            raise InputError(f"{path}: no name for class {folder}")
    shown = [names[folder] for folder in classes]
    return tuple(f"{name} ({folder})" if shown.count(name) > 1 else name for name, folder in zip(shown, classes, strict=True))


def _lines(path: str | Path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not lines:
        raise InputError(f"{path}: empty")
    return lines
