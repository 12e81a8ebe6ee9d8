"""Turns raw files into one packed data set with three splits."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ofa_core.datasets import cifar, fashion_mnist, folders, idx, imagenet
from ofa_core.datasets.arrays import Arrays, split_arrays
from ofa_core.datasets.params import PrepareParams
from ofa_core.images.packed import pack
from ofa_core.images.shards import folder_of
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError

LAYOUTS = {"folder": folders.find, "imagenet": imagenet.find}
"""Functions that find the images, for each data set of image files."""


def about(params: PrepareParams) -> dict[str, str]:
    """Fields about the data in a released model's manifest entry: dataset, and dataset_license if known."""
    if params.dataset == "fashion_mnist":
        return {"dataset": params.dataset, "dataset_license": fashion_mnist.LICENSE}
    path = params.source.resolve()
    for suffix in (".gz", ".tar", ".zip"):
        path = path.with_suffix("") if path.suffix.lower() == suffix else path
    return {"dataset": path.name}


def preprocessing(params: PrepareParams) -> dict[str, Any]:
    """Fields that the data set adds to the preprocessing in a manifest entry: shorter_side, if images were resized.

    The shorter side of an image is first resized to that many pixels. Then the centre square is cropped.
    """
    return {} if params.image_size is None else {"shorter_side": params.image_size}


def prepare(
    params: PrepareParams, seed: int, raw_folder: Path, out_path: Path, faults_folder: Path | None = None
) -> dict[str, int]:
    """Packs the data set into `out_path`. If `params.shards` is set, shards go to a folder beside it.

    Beside it, dataset.json says what stages without images need: what `about` and `preprocessing` give, and classes, their
    names. names.json has the images' names by split, in their order, if they are files. Equal arguments and files give equal
    bytes.

    raw_folder: the first place to look for published files. A relative `params.folder` starts at the current folder.
    faults_folder: where to write what is wrong with the images of a folder: faults.json by file name, and contact sheets.

    Returns a report: images of each split, those of the smallest and the largest class in train, classes, image size in pixels,
    what was left out of a folder or is wrong with it.
    Raises InputError, one line naming a parameter: data not found or broken, fewer images than requested, or leaks.
    """
    with _naming_parameters(params):
        if params.dataset in LAYOUTS:
            data = folders.load(params, seed, LAYOUTS[params.dataset], folder_of(out_path))
        else:
            arrays = _arrays(params, raw_folder)
            data = folders.Loaded(
                dict(split_arrays(arrays, params.images, seed)), arrays.classes, {}, {}, {"checked": False}, {}
            )
    if params.shards is None:
        shutil.rmtree(folder_of(out_path), ignore_errors=True)  # left by another set
    pack(out_path, data.splits, data.classes)
    facts = about(params) | preprocessing(params) | {"classes": list(data.classes)}
    files.write_json(out_path.with_name(paths.DATASET_FACTS.name), facts)
    files.write_json(out_path.with_name(paths.IMAGE_NAMES.name), data.names)
    height, width, channels = data.splits["train"][0].shape[1:]
    if faults_folder is not None:
        with files.replacing_folder(faults_folder) as folder:
            files.write_json(folder / "faults.json", data.faults)
            for name, content in data.sheets.items():
                files.write_bytes(folder / name, content)
    report = {"height": height, "width": width, "channels": channels, "classes": len(data.classes)}
    of_class = np.bincount(data.splits["train"][1], minlength=len(data.classes))
    report |= {"smallest_class_images": int(of_class.min()), "largest_class_images": int(of_class.max())}
    return report | {f"{name}_images": len(labels) for name, (_, labels) in data.splits.items()} | data.counts


@contextmanager
def _naming_parameters(params: PrepareParams) -> Iterator[None]:
    """Adds the parameter's name to an InputError whose message starts with the path in that parameter."""
    try:
        yield
    except InputError as error:
        for key, path in (("class_names", params.class_names), ("folder", params.folder)):
            if path is not None and str(error).startswith(str(Path(path))):
                raise InputError(f"prepare.{key}: {error}") from None
        raise


def _arrays(params: PrepareParams, raw_folder: Path) -> Arrays:
    if params.dataset == "idx":
        return idx.load(params.source, params.class_names)
    if params.dataset == "cifar":
        return cifar.load(params.source)
    raw = fashion_mnist.load(raw_folder)
    return Arrays(raw.train_images, raw.train_labels, raw.test_images, raw.test_labels, fashion_mnist.CLASSES)
