"""Converts pixels to inputs: the normalisation that a network's weights were trained with."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch

from ofa_core.run.errors import InputError


class Scalars(TypedDict):
    """mean and std of all channels."""

    mean: float
    std: float


class Normalization(NamedTuple):
    """Inputs are (pixel - mean) / std, with pixels in 0..255; mean and std of red, green and blue.

    It belongs to the weights, so weights files hold it and every network carries it.
    """

    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)

    @property
    def uniform(self) -> bool:
        """Whether all channels have the same mean and std, as the one scale of an integer file's input asks for."""
        return len(set(self.mean)) == len(set(self.std)) == 1

    @property
    def scalars(self) -> Scalars:
        """The mean and std of all channels, by name; of a uniform normalisation."""
        return {"mean": self.mean[0], "std": self.std[0]}

    @property
    def byte_range(self) -> tuple[float, float]:
        """What bytes 0 and 255 stand for in the input of an integer file; of a uniform normalisation.

        Its integers are the bytes minus 128, and its zero point is a whole number. So a mean of 127.5 becomes 127 there, and
        the network sees an image that is half a step brighter.
        """
        [zero, *_], [std, *_] = (math.floor(mean) for mean in self.mean), self.std
        return -zero / std, (255 - zero) / std

    @property
    def byte_shift(self) -> float:
        """What is added to an input where `byte_range` moves its zero to a whole byte."""
        return (self.mean[0] - math.floor(self.mean[0])) / self.std[0]

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-ready: mean and std as lists."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Normalization":
        """Reads the output of `to_dict`. Raises InputError that names the field."""
        values = []
        for field in cls._fields:
            try:
                [red, green, blue] = map(float, fields[field])
            except (KeyError, TypeError, ValueError):
                raise InputError(f"normalization: {field}: {fields.get(field)!r} is not three numbers") from None
            if field == "std" and min(red, green, blue) <= 0:
                raise InputError(f"normalization: std: {list(fields[field])} is not positive")
            values.append((red, green, blue))
        return cls(*values)


SYMMETRIC = Normalization()
"""Pixels from -1 to 1: x / 127.5 - 1. What training from random weights uses."""
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""ImageNet's mean and standard deviation (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) of RGB in 0..1, as torchvision and
Once-for-All's published networks have them."""
NORMALIZATIONS = {"symmetric": SYMMETRIC, "imagenet": IMAGENET}
"""By the name that commands and parameters use."""


def to_input(images: np.ndarray | torch.Tensor, normalization: Normalization = SYMMETRIC) -> torch.Tensor:
    """Converts uint8 (B, h, w, C), C = 1 or 3, to float32 (B, 3, h, w), normalised. Grey fills all channels."""
    return normalize(torch.as_tensor(images).permute(0, 3, 1, 2).float(), normalization).contiguous()


def normalize(x: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    """Normalises pixels (B, C, h, w) in 0..255, C = 1 or 3, to (B, 3, h, w); may be a view."""
    mean, std = normalization
    if normalization.uniform:
        return (x / std[0] - mean[0] / std[0]).expand(-1, 3, -1, -1)
    scale = x.new_tensor(std)[:, None, None]  # (3, 1, 1)
    return x / scale - x.new_tensor(mean)[:, None, None] / scale
