"""Boxes drawn on images: where the lines are, their colours, captions at the edges."""

import numpy as np
from PIL import Image

from ofa_core.sheets.boxes import DrawnBox, draw_boxes


def changed(image, boxes):
    """Whether each pixel differs, bool (h, w)."""
    return (np.asarray(draw_boxes(image, boxes)) != np.asarray(image)).any(axis=2)


def test_lines_are_where_the_box_is():
    image = Image.new("RGB", (201, 101))
    drawn = changed(image, [DrawnBox((0.5, 0.25, 0.9, 0.75), 0, "")])
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert (columns.min(), columns.max(), rows.max()) == (50, 150, 90)
    assert drawn[50, 50:151].all()
    assert drawn[50:91, 150].all()
    assert not drawn[60:90, 60:150].any()
    assert not np.asarray(image).any()  # the image itself stays


def test_classes_have_their_colours_and_the_first_box_is_on_top():
    image, box = Image.new("RGB", (100, 100)), (0.4, 0.1, 0.9, 0.9)
    colours = [draw_boxes(image, [DrawnBox(box, number, "")]).getpixel((50, 89)) for number in range(12)]
    assert len(set(colours)) == 12
    both = draw_boxes(image, [DrawnBox(box, 3, ""), DrawnBox(box, 4, "")])
    assert both.getpixel((50, 89)) == colours[3]


def test_boxes_and_captions_outside_of_the_image_are_moved_in():
    image = Image.new("RGB", (120, 80))
    for box in ((-0.5, -0.5, 2.0, 2.0), (0.0, 0.9, 0.3, 1.4), (1.2, 1.1, 1.5, 1.3), (0.5, 0.5, 0.4, 0.4)):
        assert changed(image, [DrawnBox(box, 1, "a long caption")]).any()
    assert changed(image, [DrawnBox((0, 0.9, 0.3, 1.4), 1, "caption")])[1:10, 60:100].any()
    assert not changed(image, []).any()
