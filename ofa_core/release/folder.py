"""The released folder: model files, labels, cards, manifest and checksums; written in one go, and checked.

`ReleasedModel` describes the manifest. MD5SUMS lists model files and labels, which a repeated run reproduces byte for byte.
SHA256SUMS lists every file but itself. `md5sum -c` and `sha256sum -c` read them. Nothing here imports torch or TensorFlow.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa_core.release.card import model_card
from ofa_core.release.verify import ENTRY_KEYS, MANIFEST, MD5SUMS, SHA256SUMS
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.run.paths import SUFFIXES


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """One model on its way into the release."""

    entry: Mapping[str, Any]
    """Its manifest entry without `files`; JSON values. Needs the keys of `ENTRY_KEYS`; others are allowed:
    task: "classification" or "detection"; input: {size [h, w], channels, dtype, scale, zero_point};
    preprocessing: {resize, resize_to [h, w], crop [h, w] or null, mean, std (of the float file)}, and shorter_side if images
    are first resized to this many pixels on the shorter side and cropped to the centre square;
    metrics: {split, top1 or map (0..1), latency_ms, predicted_latency_ms, predicted_device, device}; arch: of the sub-network.
    dataset_license, if given, is shown on the card."""
    files: Mapping[str, Path]
    """Kind (a key of `SUFFIXES`) to the file to copy."""


# ------------------------------------------------------------------------------------------------------------------ write


def write_release(
    folder: str | Path, models: Sequence[ReleasedModel], about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Makes `folder` a release of exactly these models, replacing what was there.

    Everything is written into a temporary folder, which then takes its place. A failure leaves the old release as it was.
    about: further top-level keys of the manifest, such as versions. Returns the manifest.

    Raises InputError for an entry without a required key, an id that is taken or not a file name, an unknown kind of file, or a
    file that does not exist.
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
        raise InputError("models: none to release")
    names: set[str] = set()
    for model in models:
        where = f"models: {model.entry.get('id')}"
        missing = [key for key in ENTRY_KEYS if key not in model.entry]
        if missing:
            raise InputError(f"{where}: missing {', '.join(missing)}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model.entry["id"]):
            raise InputError(f"{where}: an id is made of letters, digits, dot, dash and underscore")
        if not model.files:
            raise InputError(f"{where}: no files")
        for kind, path in model.files.items():
            if kind not in SUFFIXES:
                raise InputError(f"{where}: {kind!r} is not one of {', '.join(SUFFIXES)}")
            if not Path(path).is_file():
                raise InputError(f"{path}: no such file")
            name = model.entry["id"] + SUFFIXES[kind]
            if name in names:
                raise InputError(f"{where}: two models would both be {name}")
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
