"""Fashion-MNIST: 60,000 train and 10,000 test images of clothes, grey, 28 x 28 pixels, 10 classes.

Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao, Rasul, Vollgraf, 2017,
https://arxiv.org/abs/1708.07747), https://github.com/zalandoresearch/fashion-mnist, MIT License.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ofa_core.datasets.idx import parse_idx, unzip
from ofa_core.run import files
from ofa_core.run.download import download
from ofa_core.run.errors import InputError

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
LICENSE = "MIT License, Copyright (c) 2017 Zalando SE"

FILES = {
    "train-images-idx3-ubyte.gz": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "cf8536b0aa1a6ac5fa3f23001093305c"),
    "train-labels-idx1-ubyte.gz": ("25c81989df183df01b3e8a0aad5dffbe", "10bea18fdb374794d4bb42e356e600c9"),
    "t10k-images-idx3-ubyte.gz": ("bef4ecab320f06d8554ea6380940ec79", "f78720b4224f21cce2f2ccf2d7a94c9a"),
    "t10k-labels-idx1-ubyte.gz": ("bb300cfdad3c16e7a12a480ee83cd310", "0d30e22e447f3c33dab9ed536400ac01"),
}
"""Published MD5 and MD5 in Debian's package, by file name. Debian's gzip headers lack the file name and have another time. The
compressed data are identical: with the published headers, the MD5s are the published ones."""

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
)


class Raw(NamedTuple):
    """Images uint8 (N, 28, 28, 1) and labels int64 (N,) of both halves, in file order. md5: of the uncompressed files."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    md5: dict[str, str]


def load(raw_folder: Path) -> Raw:
    """Reads the four files. Obtains them with `find` first. Raises InputError as `find` does, or naming a broken file."""
    find(raw_folder)
    arrays, md5 = [], {}
    for name in FILES:
        path = raw_folder / name
        content = unzip(path)
        arrays.append(parse_idx(content, path))
        # MD5 of the content, so that it does not depend on which form of the file was found.
        md5[name.removesuffix(".gz")] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    images, labels = arrays[::2], [array.astype(np.int64) for array in arrays[1::2]]
    return Raw(images[0][..., None], labels[0], images[1][..., None], labels[1], md5)


def find(
    raw_folder: Path,
    system_folder: Path = SYSTEM_FOLDER,
    debian_package: str | None = DEBIAN_PACKAGE,
    urls: Sequence[str] = URLS,
) -> None:
    """Makes sure that `raw_folder` has the four files, each with a known MD5.

    Missing files are copied from `system_folder`. Else they come from the Debian package, which is unpacked into a temporary
    folder and not installed. Else they are downloaded. debian_package None and urls () skip these sources.

    Raises InputError, one line, for a file in `raw_folder` with another MD5. For a missing file the line lists what was tried.
    """
    for name in FILES:
        if (raw_folder / name).exists():
            _check(raw_folder / name)
    sources: list[Callable[[Iterable[str], Path], None]] = [partial(_copy_from, system_folder)]
    sources += [partial(_unpack, debian_package)] if debian_package else []
    sources += [partial(_download, url) for url in urls]

    failures = []
    for source in sources:
        missing = [name for name in FILES if not (raw_folder / name).exists()]
        if not missing:
            return
        raw_folder.mkdir(parents=True, exist_ok=True)
        try:
            source(missing, raw_folder)
        except InputError as error:
            failures.append(str(error))
    missing = [name for name in FILES if not (raw_folder / name).exists()]
    if missing:
        raise InputError(f"{raw_folder}: {', '.join(missing)} missing, and not found elsewhere: {'; '.join(failures)}")


def _check(path: Path) -> None:
    published, debian = FILES[path.name]
    got = files.md5(path)
    if got not in (published, debian):
        raise InputError(f"{path}: MD5 {got} is not the expected {published} (or {debian} in Debian's form); delete the file")


def _copy_from(folder: Path, names: Iterable[str], raw_folder: Path) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}")
        _check(folder / name)
        with files.replacing(raw_folder / name) as temporary:
            shutil.copyfile(folder / name, temporary)


def _unpack(package: str, names: Iterable[str], raw_folder: Path) -> None:
    """Takes the files from a Debian package, without root: downloads and unpacks it, but does not install it."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise InputError(f"Debian package {package}: no apt-get and dpkg here")
    print(f"Fashion-MNIST: downloading the Debian package {package} (31 MB)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # World-readable, because apt drops root privileges for downloads.
        Path(folder).chmod(0o755)
        options = ["-qq", "-o", "Acquire::http::Timeout=20", "-o", "APT::Sandbox::User=root"]
        try:
            _run(package, ["apt-get", *options, "download", package], folder)
        except InputError:
            # Package lists are missing, as on a fresh machine, or old. Fetch new ones next to the package, also without root.
            lists = Path(folder, "lists")
            (lists / "partial").mkdir(parents=True)
            options += ["-o", f"Dir::State::Lists={lists}"]
            _run(package, ["apt-get", *options, "update"], folder)
            _run(package, ["apt-get", *options, "download", package], folder)
        (archive,) = Path(folder).glob("*.deb")
        _run(package, ["dpkg", "-x", archive.name, "unpacked"], folder)
        _copy_from(Path(folder, "unpacked", *SYSTEM_FOLDER.parts[1:]), names, raw_folder)


def _run(package: str, command: list[str], folder: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise InputError(f"Debian package {package}: {reason}") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"Debian package {package}: {command[0]} took more than 10 minutes") from None


def _download(url: str, names: Iterable[str], raw_folder: Path) -> None:
    for name in names:
        download(f"{url}/{name}", raw_folder / name, md5=FILES[name][0])
