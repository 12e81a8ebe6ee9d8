"""Decodes the bytes of an image file to upright RGB pixels. Used by `prepare`, `ofa eval` and `ofa predict`."""

import contextlib
from collections.abc import Iterator, Sequence
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
    with _naming_reason(content):
        image = _open(content)
        with contextlib.suppress(Exception):  # broken metadata does not make an image unusable
            ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


def decode_as_stored(content: bytes) -> Image.Image:
    """Like `decode`, without applying the EXIF orientation: the rows of pixels as the file has them."""
    with _naming_reason(content):
        return _to_rgb(_open(content))


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


def _open(content: bytes) -> Image.Image:
    image: Image.Image = Image.open(BytesIO(content), formats=FORMATS)
    image.load()
    return image


@contextlib.contextmanager
def _naming_reason(content: bytes) -> Iterator[None]:
    """Turns the many types of error that Pillow raises for broken bytes into InputError."""
    try:
        yield
    except UnidentifiedImageError:
        raise InputError("not a JPEG, PNG, WebP or BMP image" if content else "an empty file") from None
    except Exception as error:
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: keep the upper eight bits, as Pillow does for 16-bit colours
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
