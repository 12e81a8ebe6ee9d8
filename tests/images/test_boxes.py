"""The packed form of images with boxes."""

import numpy as np
import pytest

from ofa_core.images.boxes import BOX_SPLITS, BoxSplit, load_boxes, pack_boxes
from ofa_core.run import files
from ofa_core.run.errors import InputError

CLASSES = ("cat", "dog")


def split(counts, seed=0, classes=CLASSES, side=6):
    """Random images with these numbers of boxes."""
    rng = np.random.default_rng(seed)
    boxes = [np.concatenate([low, low + rng.uniform(0.01, 0.5, low.shape)], axis=1) for low in _lows(rng, counts)]
    return BoxSplit(
        rng.integers(256, size=(len(counts), side, side, 3), dtype=np.uint8),
        [array.astype(np.float32) for array in boxes],
        [rng.integers(len(classes), size=n) for n in counts],
        [rng.random(n) < 0.5 for n in counts],
        rng.integers(1, 500, size=(len(counts), 2)),
        tuple(f"photos/{seed}_{i}.jpg" for i in range(len(counts))),
        classes,
    )


def _lows(rng, counts):
    return [rng.uniform(0, 0.5, (n, 2)) for n in counts]


def splits(**changes):
    return {"train": split([2, 0, 3]), "unlabelled": split([0, 0], 1), "val": split([0, 1], 2), "test": split([4], 3)} | changes


def equal(one, other):
    assert (one.images == other.images).all()
    assert (one.sizes == other.sizes).all()
    assert (one.names, one.classes) == (other.names, other.classes)
    for field in ("boxes", "labels", "crowd"):
        pairs = list(zip(getattr(one, field), getattr(other, field), strict=True))
        assert all(a.dtype == b.dtype and a.shape == b.shape and (a == b).all() for a, b in pairs), field


def test_a_packed_split_is_read_as_it_was(tmp_path):
    written = splits()
    pack_boxes(tmp_path / "x.npz", written)
    for name in BOX_SPLITS:
        equal(load_boxes(tmp_path / "x.npz", name), written[name])


def test_no_unlabelled_images_and_no_boxes_at_all(tmp_path):
    written = splits(unlabelled=split([]), train=split([0]))
    pack_boxes(tmp_path / "x.npz", written)
    for name in ("unlabelled", "train"):
        equal(load_boxes(tmp_path / "x.npz", name), written[name])


def test_bytes_depend_on_the_content_alone(tmp_path):
    for name in ("a", "b"):
        pack_boxes(tmp_path / f"{name}.npz", splits())
    assert files.md5(tmp_path / "a.npz") == files.md5(tmp_path / "b.npz")
    pack_boxes(tmp_path / "b.npz", splits(test=split([4], 4)))
    assert files.md5(tmp_path / "a.npz") != files.md5(tmp_path / "b.npz")


def with_box(box):
    good = split([1], 3)
    return good._replace(boxes=[np.array([box], np.float32)])


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("val", with_box([0.5, 0, 0.5, 1]), "val: image 0, photos/3_0.jpg: a box is not ymin < ymax"),
        ("val", with_box([0, 0, 1.01, 1]), "val: image 0, photos/3_0.jpg: a box is not"),
        ("val", with_box([0, 0, np.nan, 1]), "val: image 0, photos/3_0.jpg: a box is not"),
        ("val", split([1])._replace(labels=[np.array([2])]), "labels range from 2 to 2; there are 2 classes"),
        ("val", split([1])._replace(labels=[np.array([0, 1])]), r"labels and crowd are int64 \(2,\)"),
        ("val", split([1])._replace(boxes=[np.zeros((1, 4))]), r"boxes are float64 \(1, 4\), not float32"),
        ("test", split([1])._replace(names=()), "test: names of 0 images; there are 1"),
        ("test", split([1])._replace(sizes=np.zeros((1, 3), np.int64)), r"sizes are int64 \(1, 3\), not int64 \(1, 2\)"),
        ("test", split([1])._replace(images=np.zeros((1, 4, 5, 3), np.uint8)), r"images are uint8 \(1, 4, 5, 3\)"),
        ("test", split([1], classes=("cat",)), "test: classes are cat; those of train are cat, dog"),
        ("unlabelled", split([1]), "unlabelled: image 0, photos/0_0.jpg: it has 1 boxes, and must have none"),
    ],
)
def test_what_cannot_be_packed(tmp_path, name, wrong, message):
    with pytest.raises(InputError, match=message):
        pack_boxes(tmp_path / "x.npz", splits(**{name: wrong}))
    assert not (tmp_path / "x.npz").exists()


def test_files_and_splits_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match=r"x\.npz: no such file"):
        load_boxes(path, "val")
    with pytest.raises(InputError, match="split: 'valid' is not one of train, unlabelled, val, test"):
        load_boxes(path, "valid")
    with pytest.raises(InputError, match="splits: test, train; they must be train, unlabelled, val, test"):
        pack_boxes(path, {"train": split([1]), "test": split([1])})
    pack_boxes(path, splits())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"x\.npz: not a packed data set: "):
        load_boxes(path, "val")
