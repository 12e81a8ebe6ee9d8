"""Boxes with captions, drawn on an image."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

LEAST_TEXT = 11
"""Height of the letters in pixels, in small images."""
TEXT_SHARE, LINE_SHARE = 1 / 32, 1 / 250
"""Height of the letters and width of the lines, as shares of the image's shorter side."""
TURN = 137.508
"""Degrees of the colour circle between one class and the next: the golden angle keeps all of them apart."""


class DrawnBox(NamedTuple):
    """box: ymin, xmin, ymax, xmax as shares of the image's height and width. number: of the class, which gives the colour."""

    box: Sequence[float]
    number: int
    caption: str


def draw_boxes(image: Image.Image, boxes: Sequence[DrawnBox]) -> Image.Image:
    """A copy of an RGB image with boxes on it, the first one on top. Parts outside of the image are not drawn."""
    shown = image.copy()
    draw, shorter = ImageDraw.Draw(shown), min(image.size)
    font = ImageFont.load_default(max(LEAST_TEXT, round(shorter * TEXT_SHARE)))
    line = max(1, round(shorter * LINE_SHARE))
    for box, number, caption in reversed(boxes):
        colour = _colour(number)
        top, left, bottom, right = (
            min(max(side, 0), 1) * (length - 1) for side, length in zip(box, (image.height, image.width) * 2, strict=True)
        )
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        _label(draw, (left, top), caption, colour, font, shown.size)
    return shown


def _label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    caption: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """The caption on a background of the colour, above the corner (left, top) of a box; inside it where there is no room."""
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has letters of ASCII alone
        caption = caption.encode("ascii", "replace").decode()
    _, _, width, height = draw.textbbox((0, 0), caption, font=font)
    left = max(0, min(corner[0], size[0] - width - 4))
    top = corner[1] - height - 4 if corner[1] >= height + 4 else corner[1]
    draw.rectangle((left, top, left + width + 4, top + height + 4), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    draw.text((left + 2, top + 1), caption, fill="black" if bright else "white", font=font)


def _colour(number: int) -> tuple[int, int, int]:
    """A bright colour for a class."""
    red, green, blue = hsv_to_rgb(number * TURN % 360 / 360, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
