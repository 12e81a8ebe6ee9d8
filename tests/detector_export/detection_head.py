"""Small TFLite files with the two outputs of a detector.

`python -m tests.detector_export.detection_head IO` prints the MD5 of one with the operator (test_operator).
"""

import hashlib
import sys

import numpy as np

from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert, converter_of
from ofa_core.detection.anchors import SSDAnchors
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detector_export.operator import append_postprocess

ANCHORS = SSDAnchors(
    grids=(8, 4, 2, 1), min_scale=0.2, max_scale=0.95, aspect_ratios=(1.0, 2.0, 0.5), reduce_lowest=True, clip=True
)
CLASSES = 5
SETTINGS = PostprocessSettings(num_classes=CLASSES, score_threshold=0.3, iou_threshold=0.4, use_regular_nms=True)


class Head(tf.Module):
    """Encodings (1, A, 4) and logits (1, A, C) in; encodings, and the scores of the logits, out, with these names."""

    def __init__(self, anchors=ANCHORS.count, classes=CLASSES, names=("boxes", "classes")):
        super().__init__(name="head")

        def forward(encodings, logits):
            return dict(zip(names, (encodings * 2, tf.nn.sigmoid(logits)), strict=True))

        inputs = [tf.TensorSpec((1, anchors, 4), name="encodings"), tf.TensorSpec((1, anchors, classes), name="logits")]
        self.function = tf.function(forward, input_signature=inputs, autograph=False)
        self.concrete = self.function.get_concrete_function()


def random_inputs(seed, anchors=ANCHORS.count, classes=CLASSES):
    """Encodings and logits: few detections or more than 100, of boxes that overlap as their anchors do."""
    rng = np.random.default_rng(seed)
    encodings = rng.normal(size=(1, anchors, 4)) * (0.5, 0.5, 0.1, 0.1)
    logits = rng.normal(rng.uniform(-5, -1), 1.5, (1, anchors, classes))
    return encodings.astype(np.float32), logits.astype(np.float32)


def bare_file(io, anchors=ANCHORS.count, classes=CLASSES, names=("boxes", "classes")):
    """float32, or full-integer with uint8 or int8 in and out."""
    converter = converter_of(Head(anchors, classes, names))
    if io != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (list(random_inputs(seed, anchors, classes)) for seed in range(4))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
    return convert(converter)


if __name__ == "__main__":
    whole = append_postprocess(bare_file(sys.argv[1]), ANCHORS.boxes(), SETTINGS)
    print(hashlib.md5(whole).hexdigest())
