"""From raw files to one packed data set with three splits."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ofa_core.data import fashion_mnist, folders
from ofa_core.data.packed import draw, pack, split_train
from ofa_core.params import section


@section
class PrepareParams:
    """Which data, and how many of them."""

    dataset: Literal["fashion_mnist", "folder"]
    """fashion_mnist, or folder: images of your own, or of any set, in class folders."""
    folder: str | None
    """Of dataset folder: a folder or .zip archive of class folders, alone or below train/, val/ and test/; else null."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None
    """Of dataset folder, in pixels: every image's shorter side is resized to it, and the centre cropped; else null."""
    train_images: Annotated[int, Field(ge=0)]
    """Images to train on, drawn from what val and test leave; 0 is all of it."""
    val_images: Annotated[int, Field(ge=0)]
    """Images for every decision (predictor, search, early choices), held out of train. Of a folder with a val of its own,
    images drawn from that; 0 is all of it."""
    test_images: Annotated[int, Field(ge=0)]
    """Images for the last evaluation alone, drawn from the published test half or the folder's own test; 0 is all of it. Of a
    folder without one, images held out of train."""
    max_broken: Annotated[int, Field(ge=0)]
    """Of dataset folder: images that may be left out because they cannot be read; one more stops the stage."""

    def __post_init__(self) -> None:
        for key in ("folder", "image_size"):
            value = getattr(self, key)
            if self.dataset == "folder" and value is None:
                raise ValueError(f"{key}: null: dataset folder needs one")
            if self.dataset != "folder" and value is not None:
                raise ValueError(f"{key}: {value}: only for dataset folder, else null")
        if self.dataset == "fashion_mnist" and not self.val_images:
            raise ValueError("val_images: 0: fashion_mnist has no val of its own, so 1 or more")

    @property
    def own_images(self) -> tuple[Path, int] | None:
        """Where the images of dataset folder lie and their size; None of the others."""
        return None if self.folder is None or self.image_size is None else (Path(self.folder), self.image_size)


def about(params: PrepareParams) -> dict[str, str]:
    """What a released model's manifest entry says of the data: dataset and, where it is known, dataset_license."""
    if params.own_images is None:
        return {"dataset": params.dataset, "dataset_license": fashion_mnist.LICENSE}
    path = params.own_images[0].resolve()
    return {"dataset": path.stem if path.suffix.lower() == ".zip" else path.name}


def preprocessing(params: PrepareParams) -> dict[str, Any]:
    """What a manifest entry's preprocessing says beside the model's own: shorter_side, of the stored images, if any.

    An image's shorter side is first resized to so many pixels, and the centre square cropped.
    """
    return {} if params.image_size is None else {"shorter_side": params.image_size}


def prepare(params: PrepareParams, seed: int, raw_folder: Path, out_path: Path) -> dict[str, int]:
    """Packs the data set into `out_path`; equal arguments and files give equal bytes.

    raw_folder: where published files are looked for first. A relative `params.folder` begins at the current folder.

    Returns metrics: images of each split, classes, the images' size in pixels, and what was left out of a folder.
    Raises ValueError with one line: data not found or broken, more images asked for than there are.
    """
    if params.own_images is None:
        data = _fashion_mnist(params, seed, raw_folder)
    else:
        path, size = params.own_images
        images = {"train": params.train_images, "val": params.val_images, "test": params.test_images}
        data = folders.load(path, size, images, params.max_broken, seed)
    pack(out_path, data.splits, data.classes)
    height, width, channels = data.splits["train"][0].shape[1:]
    metrics = {"height": height, "width": width, "channels": channels, "classes": len(data.classes)}
    return metrics | {f"{name}_images": len(images) for name, (images, _) in data.splits.items()} | data.counts


def _fashion_mnist(params: PrepareParams, seed: int, raw_folder: Path) -> folders.Loaded:
    raw = fashion_mnist.load(raw_folder)
    train, val = split_train(raw.train_labels, params.val_images, seed)
    if params.train_images:
        train = train[_subset("train_images", raw.train_labels[train], params.train_images, seed)]
    test = np.arange(len(raw.test_labels))
    if params.test_images:
        test = np.sort(_subset("test_images", raw.test_labels, params.test_images, seed))
    splits = {
        "train": (raw.train_images[train], raw.train_labels[train]),
        "val": (raw.train_images[val], raw.train_labels[val]),
        "test": (raw.test_images[test], raw.test_labels[test]),
    }
    return folders.Loaded(splits, fashion_mnist.CLASSES, {})


def _subset(key: str, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    try:
        return draw(labels, count, seed)[0]
    except ValueError as error:
        raise ValueError(f"prepare.{key}: {error}") from None
