"""Converts pixels to inputs."""

import numpy as np
import torch


def to_input(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Converts uint8 (B, h, w, C), C = 1 or 3, to float32 (B, 3, h, w) = x / 127.5 - 1. Grey fills all channels."""
    x = torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, C, h, w)
    return x.expand(-1, 3, -1, -1).contiguous()
