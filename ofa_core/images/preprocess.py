"""The preprocessing of a released model, applied to an image file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ofa_core.images.decode import centre, decode


def preprocess(content: bytes, rule: Mapping[str, Any]) -> np.ndarray:
    """The pixels, uint8 (h, w, 3), of an image file, preprocessed as a manifest entry says (`release.ReleasedModel`).

    Raises InputError with the reason for a broken image.
    """
    image = decode(content)
    if side := rule.get("shorter_side"):
        image = centre(image, side, (side, side))
    height, width = rule["resize_to"]
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if crop := rule.get("crop"):
        left, top = (width - crop[1]) // 2, (height - crop[0]) // 2
        image = image.crop((left, top, left + crop[1], top + crop[0]))
    return np.asarray(image)
