"""Decodes the bytes of an image file to upright RGB pixels. Used by `prepare`, `ofa eval` and `ofa predict`."""

import contextlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ofa_core.run.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Formats of files that count as images. Any of `SUFFIXES` may hold any of these."""

LONGEST = 100
"""Highest ratio of the longer to the shorter side. Resized by its shorter side, a longer image would fill the memory."""


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image, in upper or lower case."""
    return name.lower().endswith(SUFFIXES)


def decode(content: bytes) -> Image.Image:
    """Decodes an image of any mode to RGB. Applies the EXIF orientation and puts transparent parts on white.

    Raises InputError with the reason for anything but a complete image in one of `FORMATS`.
    """
    try:
        image: Image.Image = Image.open(BytesIO(content), formats=FORMATS)
        image.load()
        with contextlib.suppress(Exception):  # broken metadata does not make an image unusable
            ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except UnidentifiedImageError:
        raise InputError("not a JPEG, PNG, WebP or BMP image" if content else "an empty file") from None
    except Exception as error:  # Pillow raises many types of error for broken bytes
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from None


def centre(image: Image.Image, shorter_side: int, crop: Sequence[int]) -> Image.Image:
    """Resizes the shorter side to `shorter_side` pixels (Pillow's bilinear filter, antialiased), then crops the centre.

    crop: height and width in pixels, each at most `shorter_side`. Raises InputError if the image is too long and narrow.
    """
    shorter = min(image.size)
    if max(image.size) > LONGEST * shorter:
        raise InputError(f"{image.width} x {image.height} pixels, one side more than {LONGEST} times the other")
    width, height = (round(shorter_side * side / shorter) for side in image.size)
    left, top = (width - crop[1]) // 2, (height - crop[0]) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + crop[1], top + crop[0]))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: keep the upper eight bits, as Pillow does for 16-bit colours
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
