"""Augmentation of batches of real photos: what it may change, what it must not change, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ofa_core.images.decode import centre, decode
from ofa_core.images.resize import resize
from ofa_core.images.tree import Tree
from ofa_core.nn.inputs import to_input
from ofa_core.training.augment import ASPECT_RATIOS, augment, draw_boxes, resample
from ofa_core.training.params import TrainingParams
from tests.conftest import shared_data
from tests.training.test_loop import SHARED

PLAIN = replace(SHARED, max_shift=0.0, flip=False)
SIDE = 64


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Real photos, uint8 (48, 64, 64, 3)."""
    with Tree(shared_data("images/imagenet_photos.zip")) as tree:
        names = [name for name in tree.files if name.startswith("images/")][:48]
        pixels = [np.asarray(centre(decode(tree.read(name)), SIDE, (SIDE, SIDE))) for name in names]
    return torch.from_numpy(np.stack(pixels))


def run(images: Tensor, params: TrainingParams, resolution: int = SIDE, seed: int = 0) -> Tensor:
    return augment(images, np.random.default_rng(seed), params, resolution)


def to_bytes(x: Tensor) -> np.ndarray:
    """Converts network input (B, 3, r, r) back to pixel values (B, r, r, 3)."""
    return ((x + 1) * 127.5).permute(0, 2, 3, 1).numpy()


def test_nothing_switched_on_is_the_plain_input(photos: Tensor) -> None:
    assert torch.equal(run(photos, PLAIN), to_input(photos))
    whole = replace(PLAIN, crop_scale=(1.0, 1.0))
    assert not whole.crops
    assert torch.equal(run(photos, whole), to_input(photos))
    grey = photos[..., :1]
    assert torch.equal(run(grey, PLAIN), to_input(grey))


def test_mirroring(photos: Tensor) -> None:
    flipped = run(photos, replace(PLAIN, flip=True))
    plain = to_input(photos)
    mirrored = torch.tensor([torch.equal(x, y.flip(2)) for x, y in zip(flipped, plain, strict=True)])
    kept = torch.tensor([torch.equal(x, y) for x, y in zip(flipped, plain, strict=True)])
    assert (mirrored ^ kept).all()
    assert 12 < mirrored.sum() < 36


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (40, SIDE)])
def test_shifts_move_whole_images(photos: Tensor, flip: bool, height: int, width: int) -> None:
    images = photos[:, :height]
    moved = to_bytes(run(images, replace(PLAIN, max_shift=0.1, flip=flip), height)) if height == width else None
    rng = np.random.default_rng(0)
    shifts = [rng.integers(-round(0.1 * side), round(0.1 * side) + 1, size=len(images)) for side in (height, width)]
    mirrored = rng.random(len(images)) < 0.5 if flip else np.zeros(len(images), dtype=bool)
    expected = []
    for image, down, right, mirror in zip(images.numpy(), *shifts, mirrored, strict=True):
        rows, columns = np.clip(np.arange(height) + down, 0, height - 1), np.clip(np.arange(width) + right, 0, width - 1)
        out = image[rows][:, columns]
        expected.append(out[:, ::-1] if mirror else out)
    if moved is not None:
        assert (moved.round() == np.stack(expected)).all()
    else:  # not square: resampled to the square afterwards
        found = to_bytes(run(images, replace(PLAIN, max_shift=0.1, flip=flip), 32))
        assert np.abs(found - resize(np.stack(expected), 32)).max() <= 1.01


@pytest.mark.parametrize("resolution", [24, 64, 100])
def test_a_crop_is_pillows(photos: Tensor, resolution: int) -> None:
    """Each crop equals Pillow's antialiased crop, except for Pillow's rounding after rows and after columns."""
    boxes = draw_boxes(np.random.default_rng(1), len(photos), (SIDE, SIDE), (0.08, 1.0))
    found = resample(photos, boxes, resolution).permute(0, 2, 3, 1).numpy()
    for image, (top, left, height, width), out in zip(photos.numpy(), boxes, found, strict=True):
        crop = Image.fromarray(image[top : top + height, left : left + width])
        expected = np.asarray(crop.resize((resolution, resolution), Image.Resampling.BILINEAR))
        assert np.abs(out - expected).max() <= 1.01


@pytest.mark.parametrize("resolution", [24, 48, 100])
def test_the_whole_image_is_resized_as_validation_images_are(photos: Tensor, resolution: int) -> None:
    found = to_bytes(run(photos, PLAIN, resolution))
    assert np.abs(found - resize(photos.numpy(), resolution)).max() <= 1.01


def test_crops_have_the_scales_and_ratios_asked_for() -> None:
    boxes = draw_boxes(np.random.default_rng(0), 20000, (224, 224), (0.08, 1.0)).astype(float)
    top, left, height, width = boxes.T
    assert top.min() >= 0
    assert left.min() >= 0
    assert (top + height).max() == (left + width).max() == 224
    shares, ratios = height * width / 224**2, width / height
    assert 0.078 < shares.min() < 0.085
    assert shares.max() > 0.99
    assert ASPECT_RATIOS[0] - 0.02 < ratios.min() < 0.76
    assert 1.32 < ratios.max() < ASPECT_RATIOS[1] + 0.02
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.01)
    # Below 3/4 of the area every ratio fits, so shares are uniform. Above, draws that are too wide or too tall are repeated.
    counts = np.histogram(shares, np.linspace(0.1, 0.7, 7))[0]
    assert counts.max() / counts.min() < 1.1
    # Positions are uniform over the space that the crop leaves.
    room = top[height < 200] / (224 - height[height < 200])
    assert room.mean() == pytest.approx(0.5, abs=0.01)
    narrow = draw_boxes(np.random.default_rng(0), 1000, (224, 224), (0.5, 0.5))
    assert np.abs(narrow[:, 2] * narrow[:, 3] / 224**2 - 0.5).max() < 0.01


def test_where_no_crop_fits_the_middle_is_taken() -> None:
    boxes = draw_boxes(np.random.default_rng(0), 50, (10, 100), (1.0, 1.0))
    assert (boxes == [0, 44, 10, 13]).all()
    boxes = draw_boxes(np.random.default_rng(0), 50, (100, 10), (1.0, 1.0))
    assert (boxes == [44, 0, 13, 10]).all()


def test_brightness_and_saturation(photos: Tensor) -> None:
    pixels = photos.numpy().astype(float)
    found = to_bytes(run(photos, replace(PLAIN, brightness=0.5)))
    factors = np.random.default_rng(0).uniform(0.5, 1.5, (len(photos), 1, 1, 1))
    assert np.abs(found - (pixels * factors).clip(0, 255)).max() < 1e-3
    found = to_bytes(run(photos, replace(PLAIN, saturation=0.5)))
    grey = pixels @ [[0.299], [0.587], [0.114]]
    assert np.abs(found - (grey + (pixels - grey) * factors).clip(0, 255)).max() < 1e-3
    # At the published strength, values stay in range and grey images stay grey.
    both = replace(SHARED, crop_scale=(0.08, 1.0), brightness=32 / 255, saturation=0.5)
    x = run(photos, both)
    assert x.min() >= -1
    assert x.max() <= 1
    x = run(photos[..., :1], both)
    assert torch.equal(x[:, 0], x[:, 2])


def test_equal_seeds_give_equal_bytes(photos: Tensor) -> None:
    everything = replace(SHARED, max_shift=0.1, flip=True, crop_scale=(0.08, 1.0), brightness=32 / 255, saturation=0.5)
    a, b, c = (run(photos, everything, 48, seed).numpy().tobytes() for seed in (1, 1, 2))
    assert a == b != c
    x = run(photos, everything, 48)
    assert x.shape == (48, 3, 48, 48)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    # Autocast around the step must not affect it.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(run(photos, everything, 48), x)


def test_crop_scale_is_checked() -> None:
    with pytest.raises(ValueError, match=r"crop_scale: \[1\.0, 0\.5\] is not ascending"):
        replace(SHARED, crop_scale=(1.0, 0.5))
