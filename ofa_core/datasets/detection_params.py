"""Parameters of the data of detection: location, format, number of images, classes."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ofa_core.run.errors import InputError
from ofa_core.run.params import section


@section
class PrepareDetectionParams:
    """The data set with boxes, and how many of its images are used."""

    dataset: Literal["scenes", "coco", "voc"]
    """scenes are made of the items of build/data/classification.npz, which must be grey. The others are formats of the data at
    `folder`. coco: instances JSON. voc: an XML file for each image, with or without ImageSets."""
    folder: str | None
    """Path of the data: a folder or .zip archive. null for scenes."""
    tracked: Literal["build/data", "data/detection.index"]
    """What DVC watches for changes. build/data: for scenes. data/detection.index, the list of the files at `folder`: for
    others, which then need no stage of classification."""
    image_size: Annotated[int, Field(ge=32, le=1024)]
    """Height and width in pixels to which images are stretched. Scenes are made in this size."""
    classes: list[str] | None
    """Names of the classes, in their order. null: all classes of the annotations; coco by category id, voc by name."""
    other_classes: Literal["stop", "drop"]
    """Boxes of a class that is not in `classes`. stop: they stop the stage. drop: they are left out, and counted."""
    numbering: Literal["dense", "category_id"]
    """dense: classes are numbered from 0. category_id, for coco and `classes` null: the number is the category id - 1, as in
    detectors for COCO's 90 ids; ids that the data lack get classes without boxes."""
    train_images: Annotated[int, Field(ge=0)]
    """Images to train on, drawn from what the other splits leave. 0: all of them; not for scenes."""
    unlabelled_images: Annotated[int, Field(ge=0)]
    """Images whose boxes are unknown, for pseudo-labels, drawn from `unlabelled_folder`. Where that is null, they are held out
    of train and their boxes are forgotten. 0: all images of `unlabelled_folder`, or none."""
    unlabelled_folder: str | None
    """For coco and voc: a folder or .zip archive of images without annotations. null: none."""
    val_images: Annotated[int, Field(ge=0)]
    """Images for all decisions. If the data have a val split, they are drawn from it, and 0 means all of it. Else they are held
    out of train."""
    test_images: Annotated[int, Field(ge=0)]
    """Images for the final evaluation only. If the data have a test split, they are drawn from it, and 0 means all of it. Else
    they are held out of train."""
    max_broken: Annotated[int, Field(ge=0)]
    """Most images that may be left out because they cannot be read, or have not the size that their annotations say. One more
    stops the stage."""

    def __post_init__(self) -> None:
        wanted = "build/data" if self.dataset == "scenes" else "data/detection.index"
        if self.tracked != wanted:
            raise InputError(f"tracked: {self.tracked}: must be {wanted} for dataset {self.dataset}")
        if self.dataset == "scenes":
            for key in ("folder", "classes", "unlabelled_folder"):
                if getattr(self, key) is not None:
                    raise InputError(f"{key}: {getattr(self, key)}: must be null for dataset scenes")
            for key in ("train_images", "val_images", "test_images"):
                if not getattr(self, key):
                    raise InputError(f"{key}: 0: must be at least 1 for dataset scenes")
        elif self.folder is None:
            raise InputError(f"folder: null: dataset {self.dataset} needs one")
        if self.numbering == "category_id" and (self.dataset != "coco" or self.classes is not None):
            raise InputError("numbering: category_id: is for dataset coco with classes null")
        if self.classes is not None and len(set(self.classes)) < max(1, len(self.classes)):
            raise InputError(f"classes: {', '.join(self.classes) or 'empty'}: must be different names, at least one")
        if self.classes is None and self.other_classes == "drop":
            raise InputError("other_classes: drop: must be stop where classes is null, which takes all")

    @property
    def source(self) -> Path:
        """`folder` as a path."""
        return Path(self.folder or "")

    @property
    def images(self) -> dict[str, int]:
        """Numbers of images by split."""
        return {
            "train": self.train_images,
            "unlabelled": self.unlabelled_images,
            "val": self.val_images,
            "test": self.test_images,
        }
