"""What a detector is made of besides its weights: its space, and the anchors at each resolution."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ofa_core.detection.anchors import SSDAnchors
from ofa_core.space.detector import DetectorSpace


@dataclass(frozen=True)
class Design:
    """A space of detectors and the anchors for maps with given sides."""

    space: DetectorSpace
    of_sides: Callable[[tuple[int, ...]], SSDAnchors]

    def anchors(self, resolution: int) -> np.ndarray:
        """float32 (A, 4) y, x, h, w, of the detectors at a resolution in pixels."""
        return self.of_sides(self.space.map_sides(resolution)).boxes()
