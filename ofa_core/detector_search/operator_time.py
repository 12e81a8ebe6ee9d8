"""The time of a detector's last operator, which no table of layers has: it depends on what is in the images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detector_export.operator import append_postprocess
from ofa_core.detectors.design import Design
from ofa_core.images.resize import resize, to_rgb
from ofa_core.latency.table import LatencyTable
from ofa_core.nn.network import SuperNetwork
from ofa_core.runtime.on_images import time_detector
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.detector import BOXES, CLASSES
from ofa_core.space.ops import HardSwish
from ofa_core.training.evaluation import Evaluator

IMAGES = 50
"""Val images on which the operator is timed. Noise would not do: what is suppressed depends on what is found."""


def operator_ms(
    net: SuperNetwork, evaluator: Evaluator, design: Design, settings: PostprocessSettings, hard_swish: HardSwish, threads: int
) -> dict[int, float]:
    """Milliseconds of the operator by resolution, in the uint8 file of the largest network, on this machine."""
    found = {}
    for resolution in design.space.resolutions:
        arch = design.space.largest(resolution)
        net.set_active(arch)
        evaluator.calibrate(net, resolution)
        network = net.extract(arch).eval()
        network.outputs = (BOXES, CLASSES)
        images = to_rgb(resize(evaluator.val.images[:IMAGES], resolution))
        content = convert_integer(network, calibrate(network, images, "minmax", hard_swish), hard_swish)
        whole = append_postprocess(content, design.anchors(resolution), settings)
        found[resolution] = max(time_detector(whole, content, images, threads).postprocess_ms, 0.0)
    return found


@dataclass(frozen=True)
class WithOperator:
    """A latency table whose networks end in the operator: its milliseconds by resolution are added to every network's."""

    table: LatencyTable
    operator: Mapping[int, float]

    @property
    def device(self) -> dict[str, object]:
        """The record of the device."""
        return self.table.device

    def predict(self, space: Space, arch: Arch) -> float:
        """Milliseconds of one detector. Raises as `LatencyTable.predict` does."""
        return self.table.predict(space, arch) + self.operator[arch.r]

    def slot_tables(self, space: Space, resolution: int) -> tuple[list[np.ndarray], float]:
        """As `LatencyTable.slot_tables`; the operator is part of the constant."""
        tables, constant = self.table.slot_tables(space, resolution)
        return tables, constant + self.operator[resolution]
