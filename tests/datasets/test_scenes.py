"""Scenes: tight boxes, visible items, no item in two splits, equal bytes."""

import numpy as np
import pytest

from ofa_core.datasets.scenes import LEAST_VISIBLE, VISIBLE, item_pools, scenes, tight_box
from ofa_core.images.packed import load_split, pack
from ofa_core.run.errors import InputError

COUNTS = {"train": 40, "unlabelled": 30, "val": 20, "test": 25}
SIDE = 96


@pytest.fixture(scope="module")
def made(dataset):
    return scenes(dataset, SIDE, COUNTS, 0)


def test_shapes_and_numbers(made, dataset):
    splits, how = made
    for name, split in splits.items():
        assert (split.images.dtype, split.images.shape) == (np.uint8, (COUNTS[name], SIDE, SIDE, 1))
        assert split.sizes.tolist() == [[SIDE, SIDE]] * COUNTS[name]
        assert len(set(split.names)) == COUNTS[name]
        assert {len(scene.items) for scene in how[name]} == {1, 2, 3}
    assert not any(map(len, splits["unlabelled"].boxes))
    items = load_split(dataset, "test")
    for scene, labels in zip(how["test"], splits["test"].labels, strict=True):
        assert labels.tolist() == items.labels[scene.items].tolist()


def test_boxes_are_tight_on_the_visible_pixels(made):
    """Every side of a box touches a pixel of its item, and no pixel of the item is outside."""
    splits, how = made
    for name in ("train", "val", "test"):
        for scene, boxes, pixels in zip(how[name], splits[name].boxes, splits[name].images, strict=True):
            assert len(boxes) == len(scene.items)
            for number, box in enumerate(boxes):
                top, left, bottom, right = np.round(box * SIDE).astype(int)
                assert (box == np.float32(np.array([top, left, bottom, right]) / SIDE)).all()
                rows, columns = np.nonzero(scene.owner == number)
                assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (top, left, bottom, right)
                assert pixels[..., 0][scene.owner == number].min() >= VISIBLE


def test_half_of_each_item_is_visible_and_some_are_covered(made):
    _, how = made
    shares = [(scene.owner == i).sum() / size for of in how.values() for scene in of for i, size in enumerate(scene.sizes)]
    assert LEAST_VISIBLE <= min(shares) < 0.9
    assert max(shares) == 1


def test_no_item_is_in_scenes_of_two_splits(made, dataset):
    """By their pixels: indices of two splits may be equal and mean different items."""
    _, how = made
    used = {}
    for name, of in how.items():
        images = load_split(dataset, "train" if name == "unlabelled" else name).images
        used[name] = {images[i].tobytes() for scene in of for i in (*scene.items, *scene.decoys)}
    names = list(used)
    assert all(used[a].isdisjoint(used[b]) for i, a in enumerate(names) for b in names[:i])
    pools = item_pools(320, 0)
    assert sorted(np.concatenate(list(pools.values())).tolist()) == list(range(320))
    for name in pools:
        assert {i for scene in how[name] for i in (*scene.items, *scene.decoys)} <= set(pools[name].tolist())


def test_equal_seeds_give_equal_scenes_and_fewer_are_the_first(made, dataset):
    again, _ = scenes(dataset, SIDE, COUNTS | {"train": 10, "unlabelled": 0}, 0)
    assert (again["train"].images == made[0]["train"].images[:10]).all()
    assert (again["test"].images == made[0]["test"].images).all()
    assert again["unlabelled"].images.shape == (0, SIDE, SIDE, 1)
    other, _ = scenes(dataset, SIDE, COUNTS, 1)
    assert (other["test"].images != made[0]["test"].images).any(axis=(1, 2, 3)).all()


def test_a_box_of_a_mask():
    mask = np.zeros((6, 9), bool)
    mask[2, 3] = mask[4, 7] = True
    assert tight_box(mask) == (2, 3, 5, 8)


def test_items_that_scenes_cannot_be_made_of(tmp_path, dataset):
    colours = {name: (np.zeros((2, 8, 8, 3), np.uint8), np.arange(2)) for name in ("train", "val", "test")}
    pack(tmp_path / "x.npz", colours, ("a", "b"))
    with pytest.raises(InputError, match=r"prepare_detection\.dataset: scenes needs grey items.* has colours"):
        scenes(tmp_path / "x.npz", SIDE, COUNTS, 0)
    with pytest.raises(InputError, match=r"prepare_detection\.image_size: 40: the items of scenes have up to 45 pixels"):
        scenes(dataset, 40, COUNTS, 0)
