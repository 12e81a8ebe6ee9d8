"""The published once-for-all super-networks: where their checkpoints are, and which space each belongs to."""

from dataclasses import dataclass
from pathlib import Path

from ofa_core.run import files
from ofa_core.run.download import download
from ofa_core.run.errors import InputError

ADDRESS = "https://raw.githubusercontent.com/han-cai/files/master/ofa/"
"""Where the authors of Once-for-All keep their files."""
LARGE = "https://media.githubusercontent.com/media/han-cai/files/master/ofa/"
"""The same for files in Git LFS. Its pointers publish a SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Supernet:
    """A super-network with ImageNet's 1,000 classes. sha256: None, none was published."""

    base: str
    """The address up to the file's name."""
    file: str
    space: str
    width_mult: float | None
    """Of the space; None for ofa_resnet50, whose widths are elastic."""
    sha256: str | None = None

    @property
    def address(self) -> str:
        """The checkpoint's."""
        return self.base + self.file


def _mobile(name: str, space: str, width_mult: float) -> Supernet:
    return Supernet(base=f"{ADDRESS}ofa_nets/", file=name, space=space, width_mult=width_mult)


SUPERNETS = {
    "ofa_mbv3_d234_e346_k357_w1.0": _mobile("ofa_mbv3_d234_e346_k357_w1.0", "ofa_mbv3", 1.0),
    "ofa_mbv3_d234_e346_k357_w1.2": _mobile("ofa_mbv3_d234_e346_k357_w1.2", "ofa_mbv3", 1.2),
    "ofa_proxyless_d234_e346_k357_w1.3": _mobile("ofa_proxyless_d234_e346_k357_w1.3", "ofa_proxyless", 1.3),
    "ofa_resnet50": Supernet(
        base=f"{LARGE}ofa_nets/",
        file="ofa_resnet50_d0-1-2_e0.2-0.25-0.35_w0.65-0.8-1.0",
        space="ofa_resnet50",
        width_mult=None,
        sha256="3406a4c852f4573a58e9a01f35406baa4ad3787044ffadc6ea45571ad2b9123a",
    ),
}
"""By the name that `ofa fetch` and `train_supernet.init` take."""


def fetch_checkpoint(name: str, path: Path) -> None:
    """Downloads a checkpoint of `SUPERNETS`.

    Raises InputError, one line: no connection, or another SHA-256 than the published one; then nothing is kept.
    """
    row = SUPERNETS[name]
    download(row.address, path)
    if row.sha256 and (found := files.sha256(path)) != row.sha256:
        path.unlink()
        raise InputError(f"{row.address}: SHA-256 {found} is not the published {row.sha256}; the file was deleted")
