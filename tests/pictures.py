"""What tests of image files share: small pictures, folders of them, and a whole `prepare`."""

import io
import zipfile

import numpy as np
from PIL import Image

from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import prepare
from ofa_core.images.packed import SPLITS, load_split

SIZE = 8
ALL_IMAGES = {"train_images": 0, "val_images": 0, "test_images": 0}


def picture(seed=0, width=12, height=10):
    """A smooth RGB image, so JPEG changes it little, with four different corners."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def content(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def folder(root, layout, suffix=".png"):
    """Writes different images: {"train/cat": 5, ...}; returns the root."""
    seed = 0
    for name, count in layout.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            seed += 1
            save(picture(seed), root / name / f"{i}{suffix}")
    return root


def zipped(root, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def params(path, **changes):
    fields = (
        {
            "dataset": "folder",
            "folder": str(path),
            "image_size": SIZE,
            "class_names": None,
            "shards": None,
            "max_broken": 0,
            "leaks": "stop",
        }
        | ALL_IMAGES
        | changes
    )
    return PrepareParams(**fields)


def run(path, tmp_path, seed=0, **changes):
    """(metrics, splits) of a whole prepare."""
    out = tmp_path / "out.npz"
    metrics = prepare(params(path, **changes), seed, tmp_path, out)
    return metrics, {name: load_split(out, name) for name in SPLITS}


SPLIT = {"train/cat": 4, "train/dog": 5, "val/cat": 2, "val/dog": 1, "test/cat": 1, "test/dog": 2}
