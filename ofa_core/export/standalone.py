"""`ofa export`: the files of one network, outside the pipeline, in a folder like release/.

A network is a published configuration (net.config) and its weights, or a .safetensors file of this pipeline.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ofa_core.convert.hard_swish import choose_hard_swish
from ofa_core.convert.params import INTEGER, ConversionParams
from ofa_core.export.formats import Exported, export_network
from ofa_core.images.decode import is_image
from ofa_core.images.preprocess import preprocess
from ofa_core.images.tree import Tree
from ofa_core.nn.inputs import NORMALIZATIONS
from ofa_core.nn.network import Network
from ofa_core.nn.official import load_specialized
from ofa_core.nn.uniform_input import with_uniform_input
from ofa_core.nn.weights import load_network, load_ranges, read_description
from ofa_core.release.folder import ReleasedModel, write_release
from ofa_core.release.verify import SHA256SUMS
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.run.params import parse
from ofa_core.space.netconfig import arch_of_config, read_config
from ofa_core.tasks.registry import get_task

TASK = get_task("classification")
"""For published networks and those of this pipeline."""
COMPARED = 100
"""Most images on which the formats are compared with torch."""
BOUNDS = {"max_float_difference": 1e-4, "min_kernel_agreement": 0.5, "min_simulation_agreement": 0.5}
"""Loose enough for any sound conversion: with a narrow network, kernels disagree on a fifth of the photos by rounding alone."""


def export(
    network: Sequence[Path],
    calibrate: Path | None,
    out: Path,
    *,
    resolution: int | None = None,
    shorter_side: int | None = None,
    normalization: str | None = None,
    labels: Path | None = None,
    calibration_images: int = 200,
    seed: int = 0,
    **conversion: Any,
) -> dict[str, Any]:
    """Converts a network, checks the files against it and makes `out` a release of the one model `model`.

    network: net.config and weights, or one .safetensors file. Ranges of activations in that file are used.
    calibrate: folder or .zip with images at any depth. `calibration_images` of them, drawn with `seed`, give integer files
    their ranges. Formats are compared on the others, if any.
    out: a new folder, an empty one, or one that this function made.
    resolution: of the input. None: that of run.config.
    shorter_side: images are resized to this many pixels on the shorter side and cropped at the centre. None:
    resolution / 0.875 for published networks, no crop for those of this pipeline.
    normalization: a key of `NORMALIZATIONS`, with which the weights were trained. None: what the file says, or `ofa fetch`
    noted beside it; else symmetric.
    labels: a file with one class per line. None: classes are numbered.
    conversion: formats, hard_swish, background, calibration, keep_float.

    Returns the manifest entry with `parity`: how far formats, kernels and layers agree. Raises InputError, one line, for bad
    input or a failed check; `out` is then untouched.
    """
    params = parse(ConversionParams, conversion | BOUNDS, "export")
    _check_out(out)
    net, arch, weights, published = _load(network, resolution, normalization)
    trained, net = net.normalization, with_uniform_input(net)
    classes = _labels(labels, TASK.class_count([layer.out for layer in net.active]))
    rule = _preprocessing(net, shorter_side, published)
    calibration, others = _images(calibrate, rule, calibration_images, seed, params)
    hard_swish, times = choose_hard_swish(params.hard_swish, net.active)
    ranges = load_ranges(network[0]) if len(network) == 1 else None
    try:
        exported = export_network(net, classes, params, hard_swish, calibration, others, weights, ranges, task=TASK)
    except InputError as error:
        raise InputError(f"{network[-1]}: {error}") from None
    entry = _entry(exported, arch, rule, len(calibration))
    _write(out, entry, exported)
    written = files.read_json(out / "manifest.json")["models"][0]
    written |= {"normalization": next((name for name, known in NORMALIZATIONS.items() if trained == known), trained.to_dict())}
    return written | {"parity": exported.report | {"layers": exported.layers, "hard_swish_ms": times}}


def lines(found: Mapping[str, Any], out: Path) -> list[str]:
    """What `export` found, as text: one line per file."""
    parity = found["parity"]
    shown = []
    for kind, file in found["files"].items():
        row = f"{file['md5']}  {out / file['name']}"
        if agreed := parity["to_torch"].get(kind):
            same = f"{TASK.agreement_name.replace('_', ' ')} {agreed[TASK.agreement_name]:.2%}"
            row += f"  largest difference to torch {agreed['largest_difference']:.2g}, {same}"
        shown.append(row)
    shown.append(f"compared on {parity['images']} images, calibrated with {found['calibration_images']}")
    return [*shown, f"trained with normalization {found['normalization']} of pixels; --normalization names another"]


def _check_out(out: Path) -> None:
    """Raises InputError for a folder with files that this command did not write: they would be lost."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: a file, not a folder")
    sums = out / SHA256SUMS
    known = {line.partition("  ")[2] for line in sums.read_text().splitlines()} | {SHA256SUMS} if sums.is_file() else set()
    foreign = sorted({path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()} - known)
    if foreign:
        raise InputError(f"{out}: holds {foreign[0]}, which is not from an earlier export; name another folder")


class _Loaded(NamedTuple):
    """A network, its architecture as in the manifest, the content of its .safetensors file, and whether others trained it."""

    net: Network
    arch: dict[str, Any]
    weights: bytes | None
    published: bool


def _load(network: Sequence[Path], resolution: int | None, normalization: str | None) -> _Loaded:
    """Reads the network. Its normalisation is the one asked for, else that of the file, else what `ofa fetch` noted."""
    found = _read(network, resolution)
    if normalization is None and found.weights is None:
        note = network[-1].with_name(paths.FETCHED)
        normalization = files.read_json(note)["normalization"] if note.is_file() else None
    if normalization is not None:
        found.net.normalization = NORMALIZATIONS[normalization]
    return found


def _read(network: Sequence[Path], resolution: int | None) -> _Loaded:
    if len(network) == 1:
        [path] = network
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: one file must be a .safetensors file of this pipeline; else name net.config and weights")
        published = "published" in read_description(path)
        net, arch = load_network(path, resolution if published else None)
        if resolution not in (None, arch.r):
            raise InputError(f"--resolution: {resolution}, the network of {path} is for {arch.r}")
        return _Loaded(net, arch.to_dict(), path.read_bytes(), published)
    config_path, weights = network
    net = load_specialized(config_path, weights, resolution=resolution)
    config = read_config(config_path)
    try:
        space, width_mult, arch = arch_of_config(config, net.active[0].resolution)
    except InputError:  # of no space: only its layers describe it
        return _Loaded(net, {"r": net.active[0].resolution, "layers": [layer.key for layer in net.active]}, None, True)
    return _Loaded(net, {"space": space, "width_mult": width_mult} | arch.to_dict(), None, True)


def _labels(path: Path | None, count: int) -> tuple[str, ...]:
    if path is None:
        return tuple(map(str, range(count)))
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    names = tuple(path.read_text().splitlines())
    if len(names) != count:
        raise InputError(f"{path}: {len(names)} labels, the network has {count} classes")
    return names


def _preprocessing(net: Network, shorter_side: int | None, published: bool) -> dict[str, Any]:
    """As in a manifest entry. Published ImageNet networks see the central 87.5 % of the resized image."""
    resolution = net.active[0].resolution
    side = round(resolution / 0.875) if shorter_side is None and published else shorter_side
    if side is not None and side < resolution:
        raise InputError(f"--shorter-side: {side} is less than the resolution, {resolution}")
    size, resized = [resolution, resolution], [side or resolution] * 2
    rule = {"resize": "bilinear", "resize_to": resized, "crop": size if side else None, **net.normalization.scalars}
    return rule | ({"shorter_side": side} if side else {})


def _images(
    path: Path | None, rule: Mapping[str, Any], count: int, seed: int, params: ConversionParams
) -> tuple[np.ndarray, np.ndarray]:
    """Images to calibrate with, and images to compare formats on, uint8 (n, r, r, 3)."""
    if count < 1:
        raise InputError(f"--calibration-images: {count} is less than 1")
    if path is None:
        needs = [name for name in params.formats if name in INTEGER]
        what = f"{needs[0]} files need images" if needs else "files are compared with torch on images"
        raise InputError(f"--calibrate: missing; {what} of the kind the network will see")
    with Tree(path) as tree:
        names = [name for name in tree.files if is_image(name)]
        if not names:
            raise InputError(f"{path}: no images to calibrate with")
        order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
        chosen, others = order[:count], order[count : count + COMPARED] or order[:COMPARED]
        pixels = {}
        for name in tqdm(dict.fromkeys(chosen + others), desc="decoding", unit="image", mininterval=1, disable=None):
            try:
                pixels[name] = preprocess(tree.read(name), rule)
            except InputError as error:
                raise InputError(f"{tree.full(name)}: {error}") from None
    return np.stack([pixels[name] for name in chosen]), np.stack([pixels[name] for name in others])


def _entry(exported: Exported, arch: Mapping[str, Any], rule: Mapping[str, Any], calibration_images: int) -> dict[str, Any]:
    metrics = {"split": "images that --calibrate names", "images": exported.report["images"]}
    for name, found in exported.report["to_torch"].items():
        if name in exported.content:
            metrics[f"{name}_{TASK.agreement_name}_as_torch"] = found[TASK.agreement_name]
    description = {key: value for key, value in exported.description.items() if key != "labels"}  # in their own file
    return description | {
        "id": "model",
        "task": TASK.name,
        "dataset": "a data set that its files do not name",
        "arch": dict(arch),
        "preprocessing": dict(rule),
        "calibration_images": calibration_images,
        "metrics": metrics,
    }


def _write(out: Path, entry: Mapping[str, Any], exported: Exported) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        made = {kind: Path(temporary, kind) for kind in (*exported.content, "labels")}
        for kind, content in exported.content.items():
            made[kind].write_bytes(content)
        made["labels"].write_text("".join(f"{name}\n" for name in exported.classes))
        write_release(out, [ReleasedModel(entry=entry, files=made)])
