"""The image preprocessing shared by training, calibration, evaluation and `ofa eval`.

Resizing is Pillow's bilinear filter with antialiasing, on bytes. A user of a released model gets the same pixels from
`image.resize((r, r), Image.Resampling.BILINEAR)`.
"""

import numpy as np
from PIL import Image

from ofa_core.images.shards import Shards
from ofa_core.run.errors import InputError


def resize(images: np.ndarray | Shards, r: int) -> np.ndarray:
    """Resizes uint8 (N, H, W, C), C = 1 or 3, to uint8 (N, r, r, C) in memory. Raises InputError for other arrays."""
    if isinstance(images, Shards):
        return images.resized(r)[:]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise InputError(f"images: {images.dtype} {images.shape} is not uint8 (N, H, W, 1 or 3)")
    if images.shape[1:3] == (r, r):
        return images
    resized = np.empty((len(images), r, r, images.shape[-1]), np.uint8)
    grey = images.shape[-1] == 1
    for image, out in zip(images[..., 0] if grey else images, resized[..., 0] if grey else resized, strict=True):
        out[...] = Image.fromarray(image).resize((r, r), Image.Resampling.BILINEAR)
    return resized


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Converts uint8 (N, h, w, 1 or 3) to uint8 (N, h, w, 3), the input of released uint8 models. Grey fills all channels."""
    return np.array(np.broadcast_to(images, (*images.shape[:-1], 3)), order="C")
