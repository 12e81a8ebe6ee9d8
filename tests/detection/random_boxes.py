"""Random boxes, as corners."""

import numpy as np


def random_boxes(rng: np.random.Generator, count: int, least: float = 0.02, most: float = 0.6) -> np.ndarray:
    """float32 (count, 4), with sides of `least` to `most`, inside the image."""
    sides = rng.uniform(least, most, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
