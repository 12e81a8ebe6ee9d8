"""What tests of data faults share: real photos, and copies of them in another size, encoding and frame."""

import io
import zipfile

import numpy as np
from PIL import Image

from tests.conftest import shared_data


def photos(archive="images/grocery_photos.zip", prefix="", most=None, seed=0):
    """`photos_of` an archive of the shared data; skips the test without it."""
    return photos_of(shared_data(archive), prefix, most, seed)


def photos_of(path, prefix="", most=None, seed=0):
    """{name: bytes} of photos of an archive, a random part of them if `most` is given."""
    with zipfile.ZipFile(path) as opened:
        names = sorted(n for n in opened.namelist() if n.startswith(prefix) and n.lower().endswith((".jpg", ".jpeg")))
        if most is not None:
            names = sorted(np.random.default_rng(seed).permutation(names)[:most].tolist())
        return {name: opened.read(name) for name in names}


def copied(content, rng, crop=False):
    """The bytes of a copy: 60 to 90 % of the size, JPEG of quality 60 to 90; crop: without 2 to 3 % of each side's length."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    if crop:
        width, height = ((1 - rng.uniform(0.02, 0.03)) * side for side in image.size)
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        image = image.crop(tuple(map(round, (left, top, left + width, top + height))))
    scale = rng.uniform(0.6, 0.9)
    kind = int(rng.choice([Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]))
    small = image.resize((round(image.width * scale), round(image.height * scale)), kind)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=int(rng.integers(60, 91)))
    return file.getvalue()


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root
