"""Parameters of the data: location, format and number of images."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section


@section
class PrepareParams:
    """The data set, and how many of its images are used."""

    dataset: Literal["fashion_mnist", "folder", "imagenet", "idx", "cifar"]
    """fashion_mnist is obtained automatically. The others are formats of the data at `folder`. folder: any images in class
    folders. imagenet: ImageNet's train/ and val/, val/ by synset or flat. idx: files like MNIST's. cifar: the binary
    version of CIFAR-10 or CIFAR-100."""
    folder: str | None
    """Path of the data: a folder or .zip archive (for cifar also .tar.gz). null for fashion_mnist."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None
    """Size in pixels, for folder and imagenet: the shorter side is resized to it, the centre is cropped. null for the
    others, whose images have a fixed size."""
    class_names: str | None
    """A text file with class names. null: names come from the folders or the data set, or are numbers. For folder and
    imagenet, a line is a folder and a name. For idx, a line is a name, starting with label 0."""
    train_images: Annotated[int, Field(ge=0)]
    """Images to train on, drawn from what val and test leave. 0: all of them."""
    val_images: Annotated[int, Field(ge=0)]
    """Images for all decisions (predictor, search, early choices), held out of train. If the folder has a val split, they
    are drawn from it, and 0 means all of it."""
    test_images: Annotated[int, Field(ge=0)]
    """Images for the final evaluation only, drawn from the published test half (imagenet: val/) or the folder's test split.
    0: all of them. If the folder has no test split, they are held out of train."""
    max_broken: Annotated[int, Field(ge=0)]
    """Most images that may be left out because they cannot be read, for folder and imagenet. One more stops the stage."""
    leaks: Literal["stop", "drop", "report"]
    """Train images that are near-duplicates of val or test images (the same photo in another size or encoding, or one of the
    next moment), for folder and imagenet. stop: they stop the stage, but where val or test is held out of train, they are left
    out of train. drop: they are always left out of train. report: they are kept, and accuracy is better than it should be.
    reports/prepare/ shows them."""
    shards: Literal["png", "jpeg"] | None
    """For folder and imagenet sets that do not fit in memory: stores the images in tar archives and reads them during
    training. png is lossless; jpeg takes a fifth of the bytes. null: one file, read as a whole."""

    def __post_init__(self) -> None:
        if self.dataset == "fashion_mnist" and self.folder is not None:
            raise InputError(f"folder: {self.folder}: must be null for dataset fashion_mnist")
        if self.dataset != "fashion_mnist" and self.folder is None:
            raise InputError(f"folder: null: dataset {self.dataset} needs one")
        decoded = self.dataset in ("folder", "imagenet")
        if decoded and self.image_size is None:
            raise InputError(f"image_size: null: dataset {self.dataset} needs one")
        if not decoded and self.image_size is not None:
            raise InputError(f"image_size: {self.image_size}: must be null; dataset {self.dataset} has a fixed size")
        if not decoded and self.shards is not None:
            raise InputError(f"shards: {self.shards}: must be null; dataset {self.dataset} fits in memory")
        if self.class_names is not None and self.dataset in ("fashion_mnist", "cifar"):
            raise InputError(f"class_names: {self.class_names}: must be null; dataset {self.dataset} names its classes")
        if self.dataset != "folder" and not self.val_images:
            raise InputError(f"val_images: 0: must be at least 1; dataset {self.dataset} has no val split")

    @property
    def source(self) -> Path:
        """`folder` as a path."""
        return Path(self.folder or "")

    @property
    def images(self) -> dict[str, int]:
        """Numbers of images by split."""
        return {"train": self.train_images, "val": self.val_images, "test": self.test_images}
