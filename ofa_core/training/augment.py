"""Augmentation of whole batches as tensors, on the training device.

There are random resized crops as in GoogLeNet (https://arxiv.org/abs/1409.4842), mirroring, a small shift, and the brightness
and saturation jitter ("tf" colour) of Once-for-All's published training. All random numbers come from the step's generator, and
equal parameters draw an equal number of them. So results repeat on every device, and a resumed run sees the same images.
"""

import numpy as np
import torch
from torch import Tensor

from ofa_core.nn.inputs import SYMMETRIC, Normalization, normalize
from ofa_core.training.params import TrainingParams

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Range of width / height of a random crop. Drawn uniformly in the logarithm."""
TRIES = 10
"""Draws of a crop. If none fits, the largest centre crop within `ASPECT_RATIOS` is used."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (ITU-R BT.601). Saturation changes the distance to it."""


def augment(
    images: Tensor,
    rng: np.random.Generator,
    params: TrainingParams,
    resolution: int,
    device: torch.device | str = "cpu",
    normalization: Normalization = SYMMETRIC,
) -> Tensor:
    """Turns uint8 (B, H, W, C), C = 1 or 3, into network input: float32 (B, 3, r, r), normalised, on `device`.

    Images are resampled if they are cropped or their size is not `resolution`. Otherwise their pixel values stay exact.
    """
    images = images.to(device, non_blocking=True)
    count, height, width, _ = images.shape
    images = _shift_and_flip(images, rng, params.max_shift, params.flip)
    if params.crops:
        x = resample(images, draw_boxes(rng, count, (height, width), params.crop_scale or (1, 1)), resolution)
    elif (height, width) != (resolution, resolution):
        x = resample(images, np.array([[0, 0, height, width]]), resolution)
    else:
        x = images.permute(0, 3, 1, 2).float()  # (B, C, r, r)
    x = colour(x, rng, params.brightness, params.saturation)
    return normalize(x, normalization).contiguous(memory_format=torch.channels_last)


def draw_boxes(rng: np.random.Generator, count: int, size: tuple[int, int], scale: tuple[float, float]) -> np.ndarray:
    """Random crops of images of `size` (height, width): top, left, height, width in whole pixels, int64 (count, 4).

    scale: range of the crop's share of the image area, drawn uniformly.
    """
    height, width = size
    areas = height * width * rng.uniform(*scale, size=(count, TRIES))
    ratios = np.exp(rng.uniform(np.log(ASPECT_RATIOS[0]), np.log(ASPECT_RATIOS[1]), size=(count, TRIES)))
    widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first, every = fits.argmax(1), np.arange(count)
    h = np.where(fits.any(1), heights[every, first], min(height, round(width * ASPECT_RATIOS[1])))
    w = np.where(fits.any(1), widths[every, first], min(width, round(height * ASPECT_RATIOS[1])))
    places = rng.random((2, count))
    places[:, ~fits.any(1)] = 0.5
    top, left = np.floor(places[0] * (height - h + 1)), np.floor(places[1] * (width - w + 1))
    return np.stack([top, left, h, w], axis=1).astype(np.int64)


def resample(images: Tensor, boxes: np.ndarray, resolution: int) -> Tensor:
    """Resizes boxes (B or 1, 4) from `draw_boxes` of images uint8 (B, H, W, C) to float32 (B, C, r, r) in 0..255.

    This is Pillow's antialiased bilinear filter, at any scale. It is separable: each image has one small matrix for rows and
    one for columns. That is exact, two batched products handle crops of all sizes, and results repeat on every device.
    """
    count, height, width, channels = images.shape
    rows = _filters(boxes[:, 0], boxes[:, 2], height, resolution, images.device)  # (B, r, H)
    columns = _filters(boxes[:, 1], boxes[:, 3], width, resolution, images.device)  # (B, r, W)
    with torch.autocast(images.device.type, enabled=False):  # half precision is less precise than a byte
        x = rows @ images.float().view(count, height, width * channels)  # (B, r, W * C)
        x = x.view(count, resolution, width, channels).permute(0, 3, 1, 2).reshape(count, channels * resolution, width)
        x = x @ columns.transpose(1, 2)  # (B, C * r, r)
    return x.view(count, channels, resolution, resolution)


def _filters(start: np.ndarray, length: np.ndarray, size: int, r: int, device: torch.device) -> Tensor:
    """Weights (B, r, size) of `size` input pixels in `r` output pixels, for ranges of `length` pixels from `start`."""
    first, span = (torch.from_numpy(numbers).to(device).float()[:, None] for numbers in (start, length))  # (B, 1)
    centres = first + (torch.arange(r, device=device) + 0.5) * span / r  # (B, r)
    pixels = torch.arange(size, device=device) + 0.5
    reach = (span / r).clamp(min=1)[..., None]
    shares = (1 - (pixels - centres[..., None]).abs() / reach).clamp(min=0)  # (B, r, size)
    shares *= ((pixels > first) & (pixels < first + span))[:, None]  # nothing from outside the box
    return shares / shares.sum(-1, keepdim=True)


def _shift_and_flip(images: Tensor, rng: np.random.Generator, max_shift: float, flip: bool) -> Tensor:
    """Random shift by up to `max_shift` of the sides, with repeated edges, and mirroring of half of the images."""
    count, height, width, _ = images.shape
    most = round(max_shift * height), round(max_shift * width)
    shifts = [rng.integers(-side, side + 1, size=(count, 1)) for side in most]
    mirrored = rng.random(count) < 0.5 if flip else np.zeros(count, dtype=bool)
    if not any(most):
        if not flip:
            return images
        return torch.where(torch.from_numpy(mirrored).to(images.device)[:, None, None, None], images.flip(2), images)
    rows = np.clip(np.arange(height) + shifts[0], 0, height - 1)  # (B, H)
    columns = np.clip(np.arange(width) + shifts[1], 0, width - 1)  # (B, W)
    columns[mirrored] = columns[mirrored, ::-1]
    places = torch.from_numpy(rows[:, :, None] * width + columns[:, None, :]).to(images.device)  # (B, H, W)
    places += torch.arange(count, device=images.device)[:, None, None] * (height * width)
    return images.flatten(0, 2)[places]


def colour(x: Tensor, rng: np.random.Generator, brightness: float, saturation: float) -> Tensor:
    """Multiplies brightness, then distance from grey, of each image by 1 +- up to these shares. x: (B, C, r, r) in 0..255."""
    if brightness:
        x = (x * _factors(x, rng, brightness)).clamp(0, 255)
    if saturation:
        factors = _factors(x, rng, saturation)
        if x.shape[1] == 3:
            grey = sum(share * x[:, i : i + 1] for i, share in enumerate(GREY))
            x = (grey + (x - grey) * factors).clamp(0, 255)
    return x


def _factors(x: Tensor, rng: np.random.Generator, most: float) -> Tensor:
    return torch.from_numpy(rng.uniform(1 - most, 1 + most, (len(x), 1, 1, 1))).to(x.device, x.dtype)
