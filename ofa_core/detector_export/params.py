"""Parameters of a detector's files."""

from typing import Annotated, Literal

from pydantic import Field

from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.quantization.params import Calibration
from ofa_core.run.params import section


@section
class ExportDetectorParams:
    """A detector's files, and the operator at their end. The search counts its time, so it depends on these, too."""

    score_threshold: Annotated[float, Field(ge=0, le=1)]
    """Least score of a detection. The lower, the more boxes are compared, which takes time: docs/detection.md."""
    iou_threshold: Annotated[float, Field(gt=0, le=1)]
    """A box is suppressed if its IoU with a better one is above this."""
    suppression: Literal["regular", "fast"]
    """regular: class by class. fast: once, each box with its best class alone."""
    calibration: Calibration
    """How the ranges of 8-bit activations are chosen from those that the calibration images give."""
    calibration_images: Annotated[int, Field(ge=1)]
    """Train images for those ranges; all if there are fewer."""
    max_float_difference: Annotated[float, Field(gt=0)]
    """Largest difference between the float file and torch, of encodings and scores."""
    max_int8_drop: Annotated[float, Field(ge=0, le=1)]
    """Largest loss of average precision (0..1) on val by quantisation."""

    def settings(self, num_classes: int) -> PostprocessSettings:
        """The operator's attributes."""
        return PostprocessSettings(
            num_classes=num_classes, score_threshold=self.score_threshold, iou_threshold=self.iou_threshold,
            use_regular_nms=self.suppression == "regular",
        )  # fmt: skip
