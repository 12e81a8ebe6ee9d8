"""SSD's anchors: boxes of several scales and aspect ratios at every position of several feature maps.

Liu et al. 2016, section 2.2 (https://arxiv.org/abs/1512.02325), as TensorFlow's object detection API builds them
(`create_ssd_anchors` of anchor_generators/multiple_grid_anchor_generator.py, `tile_anchors` of grid_anchor_generator.py).
"""

from dataclasses import dataclass

import numpy as np

from ofa_core.detection.coding import to_centres, to_corners
from ofa_core.run.errors import InputError

SMALL_SCALE = 0.1
"""Scale of the additional small square on a reduced lowest map, as in `create_ssd_anchors`."""


@dataclass(frozen=True, kw_only=True)
class SSDAnchors:
    """The anchors of a detector, and how many of them each map needs.

    A map has a scale, and an anchor of that scale for each aspect ratio. One more square lies between this scale and the next
    map's, as the square root of their product; after the last map comes 1.

    Raises InputError, naming the field, for values that give no anchors.
    """

    grids: tuple[int, ...]
    """Height, and width, of each feature map in positions; the finest map first."""
    min_scale: float
    """Scale of the first map: side of a square anchor as a share of the image's. Scales grow evenly from map to map."""
    max_scale: float
    """Scale of the last map."""
    aspect_ratios: tuple[float, ...]
    """Width divided by height. The interpolated square is not among them."""
    reduce_lowest: bool
    """Whether the first map has only three anchors: a square of scale 0.1, and the ratios 2 and 1/2."""
    clip: bool
    """Whether anchors are clipped to the image, which moves their centres."""

    def __post_init__(self) -> None:
        if not self.grids or min(self.grids) < 1:
            raise InputError(f"grids: {list(self.grids)}: must be one or more whole numbers from 1")
        if not 0 < self.min_scale <= self.max_scale <= 1:
            raise InputError(f"min_scale, max_scale: {self.min_scale}, {self.max_scale}: must rise, above 0 and up to 1")
        if not self.aspect_ratios or min(self.aspect_ratios) <= 0:
            raise InputError(f"aspect_ratios: {list(self.aspect_ratios)}: must be one or more numbers above 0")

    @property
    def per_position(self) -> tuple[int, ...]:
        """The number of anchors at each position of each map."""
        return tuple(len(shapes) for shapes in self._shapes())

    @property
    def count(self) -> int:
        """The number of all anchors, A."""
        return sum(k * grid * grid for k, grid in zip(self.per_position, self.grids, strict=True))

    def boxes(self) -> np.ndarray:
        """float32 (A, 4): y, x, h, w in 0..1. Map by map, positions row by row, a position's anchors side by side.

        This is the order of a head's channels-last output (H, W, k * 4), reshaped to (H * W * k, 4).
        """
        maps = []
        for grid, shapes in zip(self.grids, self._shapes(), strict=True):
            middle = (np.arange(grid) + 0.5) / grid
            boxes = np.empty((grid, grid, len(shapes), 4))
            boxes[..., 0], boxes[..., 1], boxes[..., 2:] = middle[:, None, None], middle[:, None], shapes
            maps.append(boxes.reshape(-1, 4))
        anchors = np.concatenate(maps)
        return (to_centres(to_corners(anchors).clip(0, 1)) if self.clip else anchors).astype(np.float32)

    def _shapes(self) -> list[np.ndarray]:
        """Height and width (k, 2) of the anchors of each map."""
        scales = np.linspace(self.min_scale, self.max_scale, len(self.grids))
        found = []
        for i, (scale, following) in enumerate(zip(scales, [*scales[1:], 1.0], strict=True)):
            if i == 0 and self.reduce_lowest:
                specifications = [(SMALL_SCALE, 1.0), (scale, 2.0), (scale, 0.5)]
            else:
                specifications = [(scale, ratio) for ratio in self.aspect_ratios] + [(np.sqrt(scale * following), 1.0)]
            found.append(np.array([(side / ratio**0.5, side * ratio**0.5) for side, ratio in specifications]))
        return found
