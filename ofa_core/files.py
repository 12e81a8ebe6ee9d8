"""Where the pipeline's files lie, and how files are written: whole or not at all.

Paths are relative to the repository's root, where DVC runs the stages.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAW = Path("data/raw")
BUILD = Path("build")
REPORTS = Path("reports")
RELEASE = Path("release")
WORK = Path(".work")

DATASET = BUILD / "data/classification.npz"
SUPERNET = BUILD / "supernet"
ACCURACIES = BUILD / "accuracies.csv"
PREDICTORS = BUILD / "predictor"
LATENCY = BUILD / "latency"
SEARCH = BUILD / "search"
SPECIALIZED = BUILD / "specialized"
EXPORTED = BUILD / "exported"
BASELINES = BUILD / "baselines"

SUFFIXES = {
    "uint8": ".tflite",
    "int8": "_int8.tflite",
    "dynamic": "_dynamic.tflite",
    "float16": "_float16.tflite",
    "float": "_float.tflite",
    "saved_model": "_saved_model.zip",
    "frozen": "_frozen.pb",
    "onnx": ".onnx",
    "torch": ".safetensors",
    "labels": ".labels.txt",
}
"""What follows a model's name in the name of its file, by kind of file; the same in export folders and in a release."""


def supernet(phase: str) -> Path:
    """The weights after a training phase; `full` is the full network's."""
    return SUPERNET / f"{phase}.safetensors"


def predictor(of: str = "top1") -> Path:
    """The accuracy predictor; `int8_top1`: of networks with 8 bits, where any were measured."""
    return PREDICTORS / f"{of}.npz"


def latency_table(device: str) -> Path:
    """The latency table of a device."""
    return LATENCY / f"{device}.json"


def searched(target: str) -> Path:
    """What the search found for a target."""
    return SEARCH / f"{target}.json"


def specialized(target: str) -> Path:
    """The folder of a target's stand-alone networks."""
    return SPECIALIZED / target


def specialized_file(target: str, quantization: str) -> Path:
    """A target's network to be quantised after training (post), or trained with quantisation (aware)."""
    return specialized(target) / f"{quantization}.safetensors"


def exported(target: str) -> Path:
    """The folder of a target's exported files."""
    return EXPORTED / target


def exported_name(kind: str) -> str:
    """The name of an exported file; kind: a key of `SUFFIXES`, or `description` for its JSON."""
    return f"model{'.json' if kind == 'description' else SUFFIXES[kind]}"


def exported_file(target: str, kind: str) -> Path:
    """One of a target's exported files; kind as in `exported_name`."""
    return exported(target) / exported_name(kind)


def report(stage: str, item: str | None = None, suffix: str = ".json") -> Path:
    """The metrics (.json) or plot data (.csv) of a stage, or of one item of it."""
    return REPORTS / (f"{stage}{suffix}" if item is None else f"{stage}/{item}{suffix}")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which it replaces when the block ends without an exception."""
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
    """A temporary folder beside `path`, which it replaces, old content and all, when the block ends without an exception."""
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
    """Writes a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON with sorted keys, so that equal content gives equal bytes. Raises ValueError for NaN and infinity."""
    write_bytes(path, (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Reads JSON. Raises ValueError, one line, when the file is missing or broken."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def md5(path: str | Path) -> str:
    """The MD5 of a file's bytes, as DVC and md5sum give it."""
    return _digest(path, "md5")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    return _digest(path, "sha256")


def _digest(path: str | Path, algorithm: str) -> str:
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, algorithm).hexdigest()
