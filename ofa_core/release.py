"""The released folder: model files, labels, cards, manifest and checksums; written in one go, and checked.

The manifest is described in `ReleasedModel`. MD5SUMS (model files and labels: what a repeated run gives
byte for byte) and SHA256SUMS (every file but itself) are in the format that `md5sum -c` and `sha256sum -c` read.
Nothing here imports torch or TensorFlow.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_core import files
from ofa_core.card import model_card
from ofa_core.files import SUFFIXES

ENTRY_KEYS = ("id", "task", "dataset", "input", "preprocessing", "metrics", "arch")
MANIFEST, MD5SUMS, SHA256SUMS = "manifest.json", "MD5SUMS", "SHA256SUMS"


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """One model on its way into the release."""

    entry: Mapping[str, Any]
    """Its manifest entry without `files`; JSON values. Needs the keys of `ENTRY_KEYS`, more may follow:
    task: "classification" or "detection"; input: {size [h, w], channels, dtype, scale, zero_point};
    preprocessing: {resize, resize_to [h, w], crop [h, w] or null, mean, std (of the float file)}, and shorter_side where images
    are first resized by their shorter side to so many pixels and cropped to the centre square;
    metrics: {split, top1 or map (0..1), latency_ms, predicted_latency_ms, predicted_device, device}; arch: of the sub-network.
    dataset_license, where given, is shown on the card."""
    files: Mapping[str, Path]
    """Kind (a key of `SUFFIXES`) to the file to copy."""


# ------------------------------------------------------------------------------------------------------------------ write


def write_release(
    folder: str | Path, models: Sequence[ReleasedModel], about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Makes `folder` a release of exactly these models, replacing what was there.

    Everything is written into a temporary folder beside it, which then takes its place, so that a failure leaves the old
    release as it was. about: further top-level keys of the manifest (versions, say). Returns the manifest.

    Raises ValueError for an entry that lacks a key, an id that is no file name or taken, an unknown kind of file, a file
    that does not exist.
    """
    folder = Path(folder)
    _check_models(models)
    with files.replacing_folder(folder) as release:
        entries = [_copy(model, release) for model in sorted(models, key=lambda model: model.entry["id"])]
        for entry in entries:
            (release / f"{entry['id']}.md").write_text(model_card(entry))
        manifest = {**(about or {}), "models": entries}
        files.write_json(release / MANIFEST, manifest)
        copied = sorted(file["name"] for entry in entries for file in entry["files"].values())
        _write_sums(release, MD5SUMS, files.md5, copied)
        _write_sums(release, SHA256SUMS, files.sha256, sorted(path.name for path in release.iterdir()))
    return manifest


def _check_models(models: Sequence[ReleasedModel]) -> None:
    if not models:
        raise ValueError("models: none to release")
    names: set[str] = set()
    for model in models:
        where = f"models: {model.entry.get('id')}"
        missing = [key for key in ENTRY_KEYS if key not in model.entry]
        if missing:
            raise ValueError(f"{where}: missing {', '.join(missing)}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model.entry["id"]):
            raise ValueError(f"{where}: an id is made of letters, digits, dot, dash and underscore")
        if not model.files:
            raise ValueError(f"{where}: no files")
        for kind, path in model.files.items():
            if kind not in SUFFIXES:
                raise ValueError(f"{where}: {kind!r} is not one of {', '.join(SUFFIXES)}")
            if not Path(path).is_file():
                raise ValueError(f"{path}: no such file")
            name = model.entry["id"] + SUFFIXES[kind]
            if name in names:
                raise ValueError(f"{where}: two models would both be {name}")
            names.add(name)


def _copy(model: ReleasedModel, release: Path) -> dict[str, Any]:
    """Copies the model's files; returns its complete manifest entry."""
    listed = {}
    for kind, source in model.files.items():
        path = release / (model.entry["id"] + SUFFIXES[kind])
        shutil.copyfile(source, path)
        listed[kind] = {
            "name": path.name,
            "md5": files.md5(path),
            "sha256": files.sha256(path),
            "bytes": path.stat().st_size,
        }
    return {**model.entry, "files": listed}


def _write_sums(release: Path, name: str, digest: Callable[[Path], str], listed: Sequence[str]) -> None:
    (release / name).write_text("".join(f"{digest(release / file)}  {file}\n" for file in listed))


# ----------------------------------------------------------------------------------------------------------------- verify


def verify(folder: str | Path) -> list[str]:
    """What is wrong with a release folder, one line a problem, each beginning with the file's name; [] when it is whole.

    Checked are: every file against MD5SUMS, SHA256SUMS and the manifest, these three against each other, and that no file
    is missing or extra. Raises ValueError when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
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
