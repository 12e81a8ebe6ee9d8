"""Near-duplicates among real photos: planted copies are found, other photos are left alone."""

import numpy as np
import pytest

from ofa_core.datasets.duplicates import BURST, Pairs, blank, find_pairs, groups, likenesses
from ofa_core.datasets.thumbnails import thumbnail
from ofa_core.images.decode import decode
from tests.doctored import copied, photos


def thumbnails(contents):
    return np.stack([thumbnail(decode(content)) for content in contents])


@pytest.mark.parametrize(
    ("archive", "most"),
    [("images/grocery_photos.zip", None), ("images/imagenet_photos.zip", None), ("images/cifar10_jpg.zip", 3000)],
)
@pytest.mark.parametrize("crop", [False, True])
def test_planted_copies_are_found(archive, most, crop):
    rng = np.random.default_rng(1)
    originals = list(photos(archive, most=most).values())
    chosen = np.sort(rng.permutation(len(originals))[:250])
    pictures = thumbnails([*originals, *(copied(originals[i], rng, crop) for i in chosen)])
    pairs = find_pairs(pictures)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    planted = {(i, len(originals) + k) for k, i in enumerate(chosen.tolist())}
    assert len(found & planted) >= 0.95 * len(planted)
    # A copy may also resemble what its original resembles, and nothing else.
    group = groups(find_pairs(pictures[: len(originals)]), len(originals))
    source = [*range(len(originals)), *chosen.tolist()]
    false = [(i, j) for i, j in found - planted if group[source[i]] != group[source[j]]]
    assert len(false) <= 0.01 * len(planted)


def test_untouched_photos_of_groceries():
    """Looked at one by one: all 27 pairs show the same shelf or hand from the same place, moments apart. Other photos of the
    same kind of fruit, several thousand of them, are not among them, and none is in two splits or of two kinds."""
    names, contents = zip(*photos().items(), strict=True)
    pairs = find_pairs(thumbnails(contents))
    assert 20 <= len(pairs.first) <= 35
    for i, j in zip(pairs.first, pairs.second, strict=True):
        assert names[i].rpartition("/")[0] == names[j].rpartition("/")[0], "the same split and class"


def test_other_photos_of_imagenet_are_no_duplicates():
    assert not len(find_pairs(thumbnails(photos("images/imagenet_photos.zip").values())).first)


def test_a_stretched_copy_and_a_mirrored_one():
    image = decode(next(iter(photos("images/imagenet_photos.zip", most=1).values())))
    square, mirrored = image.resize((200, 200)), image.transpose(0)
    pictures = np.stack([thumbnail(picture) for picture in (image, square, mirrored)])
    pairs = find_pairs(pictures)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])


def test_likeness_is_one_for_equal_and_symmetric_enough():
    pictures = thumbnails(photos(most=40).values())
    assert likenesses(pictures, pictures) == pytest.approx(1, abs=1e-3)
    there, back = likenesses(pictures[:20], pictures[20:]), likenesses(pictures[20:], pictures[:20])
    assert there.max() < 0.93
    assert back.max() < 0.93


def test_blank_images_are_no_duplicates_of_each_other():
    noise = np.random.default_rng(0).integers(0, 4, (3, 32, 32, 3), dtype=np.uint8)
    pictures = np.concatenate([noise, np.full((2, 32, 32, 3), 255, np.uint8)])
    assert blank(pictures).all()
    assert not len(find_pairs(pictures).first)
    assert not blank(thumbnails(photos(most=500).values())).any()


def test_images_that_are_alike_by_nature_are_not_all_duplicates():
    """Two blobs of random size on black: most pairs of distinct ones have a likeness above 0.9."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    blobs = [((x - 16) / rng.uniform(7, 9)) ** 2 + ((y - 16) / rng.uniform(9, 13)) ** 2 < 1 for _ in range(300)]
    pictures = np.repeat((np.array(blobs) * 200).astype(np.uint8)[..., None], 3, axis=-1)
    pairs = find_pairs(pictures)
    crowded = np.bincount(groups(pairs, 300)) > BURST
    assert pairs.likeness[crowded[groups(pairs, 300)[pairs.first]]].min(initial=1) >= 0.99


def test_groups():
    pairs = Pairs(np.array([4, 1, 2]), np.array([5, 2, 5]), np.ones(3))
    assert groups(pairs, 7).tolist() == [0, 1, 1, 3, 1, 1, 6]


def test_no_image_and_one_image():
    for count in (0, 1):
        assert not len(find_pairs(np.zeros((count, 32, 32, 3), np.uint8)).first)
