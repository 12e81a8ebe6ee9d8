"""Boxes checked against their images: dropped, clipped, stretched, and turned images."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ofa_core.datasets.annotations import Annotated, boxes_of
from ofa_core.datasets.box_images import decode_boxes, framed, place
from ofa_core.datasets.decoding import Broken
from ofa_core.images.decode import decode
from ofa_core.images.tree import Tree
from ofa_core.run.errors import InputError
from tests.annotated import HEIGHT, SIDE, WIDTH, photos
from tests.pictures import content, picture, save


def annotated(*boxes, labels=None, image="a.png", size=(HEIGHT, WIDTH)):
    labels = labels or ("cat",) * len(boxes)
    crowd = np.arange(len(boxes)) % 2 == 1
    return Annotated(image, size, boxes_of(boxes), tuple(labels), crowd, "a.xml", ("object[0].name",) * len(boxes))


@pytest.mark.parametrize(
    ("box", "reason", "expected"),
    [
        ((5, 10, 15, 30), None, (0.25, 0.25, 0.75, 0.75)),
        ((0, 0, 20, 40), None, (0, 0, 1, 1)),
        ((-5, 10, 15, 50), "clipped", (0, 0.25, 0.75, 1)),
        ((5, 10, 5, 30), "no_area", None),
        ((5, 10, 15, 10), "no_area", None),
        ((15, 10, 5, 30), "no_area", None),
        ((-5, -5, -10, -10), "no_area", None),
        ((-5, 10, 0, 30), "outside", None),
        ((5, 40, 15, 60), "outside", None),
        ((20, 10, 30, 30), "outside", None),
        ((10, 10, 10 + 1e-9, 30), "outside", None),
    ],
)
def test_a_box_is_kept_clipped_or_dropped(box, reason, expected):
    counts = Counter()
    boxes, labels, crowd = place(annotated(box), (HEIGHT, WIDTH), {"cat": 3}, counts)
    assert +counts == ({reason: 1} if reason else {})
    assert boxes.tolist() == ([list(expected)] if expected else [])
    assert labels.tolist() == [3] * len(boxes)
    assert (boxes.dtype, labels.dtype, crowd.dtype) == (np.float32, np.int64, np.bool_)


def test_each_dropped_box_has_one_reason():
    counts = Counter()
    one = annotated((5, 5, 5, 5), (1, 1, 2, 2), (2, 2, 4, 4), (90, 9, 99, 99), labels=("dog", "dog", "cat", "cat"))
    boxes, labels, crowd = place(one, (HEIGHT, WIDTH), {"cat": 0}, counts)
    assert +counts == {"other_class": 2, "outside": 1}
    assert boxes.tolist() == np.float32([[0.1, 0.05, 0.2, 0.1]]).tolist()
    assert (labels.tolist(), crowd.tolist()) == ([0], [False])


def test_images_are_stretched_and_keep_their_sizes(tmp_path):
    photos(tmp_path, "a.png")
    save(picture(5, 30, 90).convert("L"), tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    images = [
        annotated((5, 10, 15, 30)),
        annotated(image="broken.png"),
        annotated((9, 3, 45, 15), image="grey.png", size=None),
    ]
    with Tree(tmp_path) as tree:
        broken = Broken(tree, 1, "prepare_detection.max_broken")
        split, counts = decode_boxes(tree, "val", images, SIDE, ("dog", "cat"), broken)
        with pytest.raises(
            InputError, match=r"2 broken images, more than prepare_detection\.max_broken: 1; .* 40 x 20 pixels, but 4 x 3"
        ):
            decode_boxes(tree, "val", [annotated(size=(3, 4))], SIDE, ("cat",), broken)
    assert broken.count == 2
    assert not +counts
    assert split.names == ("a.png", "grey.png")
    assert split.sizes.tolist() == [[20, 40], [90, 30]]
    assert [boxes.tolist() for boxes in split.boxes] == [
        [[0.25, 0.25, 0.75, 0.75]],
        np.float32([[0.1, 0.1, 0.5, 0.5]]).tolist(),
    ]
    assert [labels.tolist() for labels in split.labels] == [[1], [1]]
    for name, pixels in zip(split.names, split.images, strict=True):
        whole = Image.open(tmp_path / name).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        assert (pixels == np.asarray(whole)).all(), "no bars, no crop"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_boxes_are_of_the_pixels_as_stored_unless_the_size_says_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture(1, WIDTH, HEIGHT)
    file = content(stored, "PNG", exif=exif)
    for size in ((HEIGHT, WIDTH), None):
        assert (np.asarray(framed(file, size)) == np.asarray(stored)).all()
    if orientation in (6, 8):
        upright = framed(file, (WIDTH, HEIGHT))
        assert upright.size == (HEIGHT, WIDTH)
        assert (np.asarray(upright) == np.asarray(decode(file))).all()
    else:
        with pytest.raises(InputError, match="40 x 20 pixels, but 20 x 40 in its annotations"):
            framed(file, (WIDTH, HEIGHT))
