"""Whether a release folder is intact."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ofa_core.run import files
from ofa_core.run.errors import InputError

ENTRY_KEYS = ("id", "task", "dataset", "input", "preprocessing", "metrics", "arch")


MANIFEST, MD5SUMS, SHA256SUMS = "manifest.json", "MD5SUMS", "SHA256SUMS"


def verify(folder: str | Path) -> list[str]:
    """The problems of a release folder, one line each, beginning with the file's name; [] if there are none.

    It checks every file against MD5SUMS, SHA256SUMS and the manifest, these three against each other, and that no file
    is missing or extra. Raises InputError if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    problems: list[str] = []
    md5s = _read_sums(folder / MD5SUMS, 32, problems)
    sha256s = _read_sums(folder / SHA256SUMS, 64, problems)
    released, cards = _read_manifest(folder / MANIFEST, problems)

    for name in sorted({*md5s, *sha256s, *released, *cards}):
        recorded = [("md5", MD5SUMS, md5s.get(name)), ("sha256", SHA256SUMS, sha256s.get(name))]
        recorded += [(key, MANIFEST, value) for key, value in released.get(name, {}).items()]
        problems += _compare(folder / name, recorded)

    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {SHA256SUMS}
    known = sha256s or {*md5s, *released, *cards, MD5SUMS, MANIFEST}
    problems += [f"{name}: extra file, not listed in {SHA256SUMS}" for name in sorted(present.difference(known))]
    if md5s and released:
        problems += [f"{name}: not listed in {MD5SUMS}" for name in sorted(set(released).difference(md5s))]
        problems += [f"{name}: listed in {MD5SUMS}, not in {MANIFEST}" for name in sorted(set(md5s).difference(released))]
    return list(dict.fromkeys(problems))


def _compare(path: Path, recorded: Sequence[tuple[str, str, Any]]) -> list[str]:
    """recorded: (md5, sha256 or bytes; the file that records it; the value or None)."""
    if not path.is_file():
        return [f"{path.name}: missing"]
    try:
        found = {"md5": files.md5(path), "sha256": files.sha256(path), "bytes": path.stat().st_size}
    except OSError as error:
        return [f"{path.name}: cannot be read: {error.strerror}"]
    wrong = [(key, where, value) for key, where, value in recorded if value is not None and value != found[key]]
    if not wrong:
        return []
    return [f"{path.name}: " + "; ".join(f"{key} is {found[key]}, {where} says {value}" for key, where, value in wrong)]


def _read_sums(path: Path, digits: int, problems: list[str]) -> dict[str, str]:
    """{file name: checksum}. What cannot be read is added to `problems`."""
    sums: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        problems.append(f"{path.name}: missing")
        return sums
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path.name}: cannot be read: {error}")
        return sums
    if not lines:
        problems.append(f"{path.name}: empty")
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(rf"([0-9a-f]{{{digits}}}) [ *]([^/\\]+)", line)
        if match is None or match[2] in sums:
            problems.append(f"{path.name}: line {number} is not a checksum of {digits} digits, two spaces and a new file name")
        else:
            sums[match[2]] = match[1]
    return sums


def _read_manifest(path: Path, problems: list[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """({file name: {md5, sha256, bytes}}, names of the cards). What cannot be read is added to `problems`."""
    released: dict[str, dict[str, Any]] = {}
    cards: list[str] = []
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        problems.append(f"{path.name}: missing")
        return released, cards
    except (OSError, ValueError) as error:  # broken JSON and broken UTF-8 are ValueErrors
        problems.append(f"{path.name}: not JSON: {error}")
        return released, cards
    entries = content.get("models") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        problems.append(f"{path.name}: models: not a list of models")
        return released, cards
    for i, entry in enumerate(entries):
        listed = entry.get("files") if isinstance(entry, dict) else None
        missing = [key for key in ENTRY_KEYS if not isinstance(entry, dict) or key not in entry]
        if missing or not isinstance(listed, dict):
            problems.append(f"{path.name}: models[{i}]: missing {', '.join(missing) or 'files'}")
            continue
        cards.append(f"{entry['id']}.md")
        for kind, file in listed.items():
            if not isinstance(file, dict) or not {"name", "md5", "sha256", "bytes"} <= set(file):
                problems.append(f"{path.name}: models[{i}].files.{kind}: name, md5, sha256 or bytes is missing")
            elif Path(str(file["name"])).name != file["name"] or file["name"] in released:
                problems.append(f"{path.name}: models[{i}].files.{kind}.name: {file['name']!r} is not a new file name")
            else:
                released[file["name"]] = {key: file[key] for key in ("md5", "sha256", "bytes")}
    return released, cards
