"""Names of classes, from a text file: what a released model's labels say."""

from pathlib import Path


def read_names(path: str | Path) -> tuple[str, ...]:
    """One name a line, the first of class 0. Raises ValueError that names the file: missing, empty, a line without a name."""
    lines = _lines(path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"{path}: line {number}: no name")
    return tuple(line.strip() for line in lines)


def read_mapping(path: str | Path) -> dict[str, str]:
    """One class a line: its folder's name, a space or tab, and the name to show, as in `n01440764 tench, Tinca tinca`.

    Raises ValueError that names the file and line: missing, empty, not two words, a folder twice.
    """
    names: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        folder, *rest = line.split(maxsplit=1) or [""]
        if not rest:
            raise ValueError(f"{path}: line {number}: not a folder and a name")
        if folder in names:
            raise ValueError(f"{path}: line {number}: {folder} a second time")
        names[folder] = rest[0].strip()
    return names


def rename(classes: tuple[str, ...], path: str | Path) -> tuple[str, ...]:
    """Class folders by the names that a file as `read_mapping` reads gives them; equal names get their folder's beside them.

    Raises ValueError that names the file for a class that it lacks.
    """
    names = read_mapping(path)
    for folder in classes:
        if folder not in names:
            raise ValueError(f"{path}: no name for class {folder}")
    shown = [names[folder] for folder in classes]
    return tuple(f"{name} ({folder})" if shown.count(name) > 1 else name for name, folder in zip(shown, classes, strict=True))


def _lines(path: str | Path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if not lines:
        raise ValueError(f"{path}: empty")
    return lines
