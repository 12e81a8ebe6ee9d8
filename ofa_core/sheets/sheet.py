"""Contact sheets: thumbnails with captions as a small PNG, for people to look at."""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

SIDE = 120
"""Height and width in pixels that an image is enlarged or reduced to, with the gap beside it."""
LINE, GAP, TEXT = 12, 6, 10
"""Height of a line of text, gap between cells, and size of the letters, in pixels."""
WIDTH = 1270
"""Largest width of a sheet in pixels."""
COLOURS = 192
"""A palette takes a third of the bytes of full colour, and shows what is wrong with a photo as well."""


class Cell(NamedTuple):
    """Images that belong together, shown side by side, and lines of text above them."""

    images: Sequence[Image.Image]
    lines: Sequence[str]


def contact_sheet(cells: Sequence[Cell]) -> bytes:
    """A PNG of the cells, row by row. All must have the same number of images and of lines."""
    width = SIDE * len(cells[0].images) + GAP
    height = LINE * len(cells[0].lines) + SIDE + GAP
    columns = max(1, min(len(cells), WIDTH // width))
    sheet = Image.new("RGB", (columns * width + GAP, -(-len(cells) // columns) * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for number, cell in enumerate(cells):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        for line in cell.lines:
            draw.text((left, top), _fitted(line, width - GAP, font), fill="black", font=font)
            top += LINE
        for i, image in enumerate(cell.images):
            shown = ImageOps.contain(image.convert("RGB"), (SIDE - 2, SIDE - 2), Image.Resampling.BILINEAR)
            sheet.paste(shown, (left + i * SIDE, top))
    content = BytesIO()
    sheet.quantize(COLOURS).save(content, "PNG", optimize=True)
    return content.getvalue()


def _fitted(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The line, without its beginning if it is too long: the end of a file name says more."""
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has letters of ASCII alone
        line = line.encode("ascii", "replace").decode()
    shown = line
    while line and font.getlength(shown) > width:
        line = line[1:]
        shown = f"..{line}"
    return shown
