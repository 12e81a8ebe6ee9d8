"""Decoding of image files: every format, mode and orientation, and broken files."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from ofa_core.images.decode import centre, decode
from ofa_core.images.tree import Tree
from tests.conftest import shared_data
from tests.pictures import content, picture

RGB = picture()
GREY = RGB.convert("L")
ALPHA = Image.fromarray(np.tile(np.linspace(0, 255, 12, dtype=np.uint8), (10, 1)))
RGBA = RGB.copy()
RGBA.putalpha(ALPHA)
LA = GREY.copy()
LA.putalpha(ALPHA)
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 256 + 77)
PALETTE = RGB.quantize(16)


def on_white(image):
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize(
    ("kind", "image", "options", "expected", "tolerance"),
    [
        ("PNG", RGB, {}, RGB, 0),
        ("PNG", GREY, {}, GREY, 0),
        ("PNG", GREY.convert("1"), {}, GREY.convert("1"), 0),
        ("PNG", PALETTE, {}, PALETTE, 0),
        ("PNG", PALETTE, {"transparency": 3}, None, 0),
        ("PNG", RGB, {"transparency": RGB.getpixel((0, 0))}, None, 0),
        ("PNG", RGBA, {}, None, 1),
        ("PNG", LA, {}, None, 1),
        ("PNG", DEEP, {}, GREY, 0),
        ("JPEG", RGB, {"quality": 95, "subsampling": 0}, RGB, 6),
        ("JPEG", GREY, {"quality": 95}, GREY, 6),
        ("JPEG", RGB.convert("CMYK"), {"quality": 95, "subsampling": 0}, RGB, 6),
        ("JPEG", RGB, {"quality": 95, "subsampling": 0, "progressive": True}, RGB, 6),
        ("WEBP", RGB, {"lossless": True}, RGB, 0),
        ("WEBP", RGBA, {"lossless": True, "exact": True}, None, 1),
        ("BMP", RGB, {}, RGB, 0),
        ("BMP", GREY, {}, GREY, 0),
        ("BMP", PALETTE, {}, PALETTE, 0),
        ("BMP", GREY.convert("1"), {}, GREY.convert("1"), 0),
    ],
)
def test_every_format_and_mode(kind, image, options, expected, tolerance):
    file = content(image, kind, **options)
    if expected is None:  # transparent parts
        expected = on_white(Image.open(io.BytesIO(file)))
        assert (expected == 255).all(axis=-1).any()
    else:
        expected = np.asarray(expected.convert("RGB")).astype(float)
    found = decode(file)
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found) - expected).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation(orientation, kind):
    """The corners of the upright image show how it was turned."""
    stored = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
              5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1], 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
              8: lambda a: a.swapaxes(0, 1)[:, ::-1]}  # fmt: skip
    upright = picture(3, 16, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(stored[orientation](np.asarray(upright))))
    file = content(turned, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    found = decode(file)
    assert found.size == (16, 8)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(upright)).max() <= (0 if kind == "PNG" else 30)
    assert found == ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_metadata_does_not_matter():
    found = decode(content(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xffnonsense"))
    assert found.size == RGB.size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_truncated_and_corrupt_images(kind):
    whole = content(picture(0, 60, 50), kind)
    for broken in (b"", b"text", whole[:20], whole[: len(whole) // 2], whole[:8] + bytes(len(whole) - 8)):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
            decode(broken)
        assert "BytesIO" not in str(raised.value)
    with pytest.raises(ValueError, match="not a JPEG, PNG, WebP or BMP image"):
        decode(content(RGB, "GIF"))


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (33, 33), (9, 31), (5, 8)])
def test_centre_is_pillows_resize_and_crop(width, height):
    image = picture(0, width, height)
    scale = 16 / min(width, height)
    whole = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (whole.width - 12) // 2, (whole.height - 14) // 2
    assert centre(image, 16, (14, 12)) == whole.crop((left, top, left + 12, top + 14))


def test_too_long_images_are_refused():
    with pytest.raises(ValueError, match="2020 x 20 pixels, one side more than 100 times the other"):
        centre(Image.new("RGB", (2020, 20)), 224, (224, 224))


def test_photos_as_published_networks_see_them():
    """The first photos of a set equal the input tensors of a published network: shorter side 128, centre crop 112."""
    expected = np.load(shared_data("ofa/proxyless_w0.25_r112_imagenet/io.npz"))["x"]  # (8, 3, 112, 112)
    with Tree(shared_data("images/imagenet_photos.zip")) as tree:
        names = [name for name in tree.files if name.startswith("images/")][: len(expected)]
        found = np.stack([np.asarray(centre(decode(tree.read(name)), 128, (112, 112))) for name in names])
    pixels = np.round((expected + 1) * 127.5).transpose(0, 2, 3, 1)
    assert (found == pixels).all()
