"""Parameters of the data: where it is, in which form, and how much of it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.params import section


@section
class PrepareParams:
    """Section `prepare`: which data, and how many of them."""

    dataset: Literal["fashion_mnist", "folder", "imagenet", "idx", "cifar"]
    """fashion_mnist, which is found by itself; or the form of what lies at `folder`. folder: images of your own, or of any set,
    in class folders. imagenet: its train/ and val/, the latter by synset or flat. idx: MNIST's files. cifar: the binary version
    of CIFAR-10 or CIFAR-100."""
    folder: str | None
    """Where the data lies, a folder or .zip archive (of cifar also .tar.gz); null of fashion_mnist."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None
    """Of folder and imagenet, in pixels: every image's shorter side is resized to it, and the centre cropped. Else null: images
    have a size."""
    class_names: str | None
    """A text file with the names of the classes, or null: they are named as their folders, as the set names them, or by number.
    Of folder and imagenet a line is a folder and a name; of idx a name, the first that of label 0."""
    train_images: Annotated[int, Field(ge=0)]
    """Images to train on, drawn from what val and test leave; 0 is all of it."""
    val_images: Annotated[int, Field(ge=0)]
    """Images for every decision (predictor, search, early choices), held out of train. Of a folder with a val of its own,
    images drawn from that; 0 is all of it."""
    test_images: Annotated[int, Field(ge=0)]
    """Images for the last evaluation alone, drawn from the published test half (of imagenet its val/) or the folder's own test;
    0 is all of it. Of a folder without one, images held out of train."""
    max_broken: Annotated[int, Field(ge=0)]
    """Of folder and imagenet: images that may be left out because they cannot be read; one more stops the stage."""

    shards: Literal["png", "jpeg"] | None
    """Of folder and imagenet, for sets that do not fit in memory: images are stored as files of this format, png without loss
    or jpeg in a fifth of the bytes, in tar archives, and read while they are trained on. null: one file, read as a whole."""

    def __post_init__(self) -> None:
        if self.dataset == "fashion_mnist" and self.folder is not None:
            raise ValueError(f"folder: {self.folder}: not for dataset fashion_mnist, so null")
        if self.dataset != "fashion_mnist" and self.folder is None:
            raise ValueError(f"folder: null: dataset {self.dataset} needs one")
        decoded = self.dataset in ("folder", "imagenet")
        if decoded and self.image_size is None:
            raise ValueError(f"image_size: null: dataset {self.dataset} needs one")
        if not decoded and self.image_size is not None:
            raise ValueError(f"image_size: {self.image_size}: images of dataset {self.dataset} have a size, so null")
        if not decoded and self.shards is not None:
            raise ValueError(f"shards: {self.shards}: dataset {self.dataset} fits in memory, so null")
        if self.class_names is not None and self.dataset in ("fashion_mnist", "cifar"):
            raise ValueError(f"class_names: {self.class_names}: classes of dataset {self.dataset} have names, so null")
        if self.dataset != "folder" and not self.val_images:
            raise ValueError(f"val_images: 0: dataset {self.dataset} has no val of its own, so 1 or more")

    @property
    def source(self) -> Path:
        """`folder` as a path."""
        return Path(self.folder or "")

    @property
    def images(self) -> dict[str, int]:
        """The numbers of images by split."""
        return {"train": self.train_images, "val": self.val_images, "test": self.test_images}
