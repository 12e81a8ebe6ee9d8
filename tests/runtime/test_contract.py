"""`ofa verify --contract`: real TFLite files that meet the challenges' contracts, and files that each break one rule."""

import json

import numpy as np
import pytest

from ofa_core.convert.network import tf_network
from ofa_core.convert.tensorflow import tf
from ofa_core.convert.tflite import convert_float
from ofa_core.runtime.contract import violations
from ofa_core.runtime.quiet import quiet
from tests.commands.test_main import ofa
from tests.convert.test_network import integer, make_network, random_images

IMAGE = tf.TensorSpec((1, 8, 8, 3), tf.uint8)


def build(function, *inputs):
    """A TFLite file of a function, with its outputs in the order of their names."""
    concrete = tf.function(function, input_signature=list(inputs)).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.allow_custom_ops = True
    with quiet():
        return converter.convert()


def logits(image, classes=1001):
    """Logits that depend on the image, float32 (1, classes)."""
    mean = tf.reduce_mean(tf.cast(image, tf.float32)) / 255.0
    return mean * tf.constant(np.random.default_rng(0).normal(size=(1, classes)), tf.float32)


def classifier(image, classes=1001):
    return tf.nn.softmax(logits(image, classes))


def quantised(softmax=True):
    """A full-integer classifier."""
    concrete = tf.function(
        lambda x: classifier(x * 255) if softmax else logits(x * 255), input_signature=[tf.TensorSpec((1, 8, 8, 3))]
    ).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.full((1, 8, 8, 3), x, np.float32)] for x in (0, 0.5, 1))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    with quiet():
        return converter.convert()


BROKEN = {
    "not a TFLite file": (lambda: b"\0" * 100, "file: cannot be loaded: not a TFLite file"),
    "cut off": (lambda: build(classifier, IMAGE)[:400], "file: cannot be loaded: "),
    "float input": (lambda: build(classifier, tf.TensorSpec((1, 8, 8, 3))), "input: float32, expected uint8"),
    "int8 input": (lambda: build(classifier, tf.TensorSpec((1, 8, 8, 3), tf.int8)), "input: int8, expected uint8"),
    "two inputs": (
        lambda: build(lambda x, y: classifier(x) + classifier(y), IMAGE, IMAGE),
        "input: 2 of them, expected one image",
    ),
    "channels first": (
        lambda: build(classifier, tf.TensorSpec((1, 3, 8, 8), tf.uint8)),
        "input: shape [1, 3, 8, 8], expected [1, H, W, 3] with the 3 channels last",
    ),
    "no batch axis": (
        lambda: build(classifier, tf.TensorSpec((8, 8, 3), tf.uint8)),
        "input: shape [8, 8, 3], expected [1, H, W, 3]",
    ),
    "batch of two": (lambda: build(classifier, tf.TensorSpec((2, 8, 8, 3), tf.uint8)), "input: batch of 2, expected 1"),
    "too high": (
        lambda: build(classifier, tf.TensorSpec((1, 1001, 8, 3), tf.uint8)),
        "input: height and width [1001, 8], allowed are 1 to 1000",
    ),
    "no background": (
        lambda: build(lambda x: classifier(x, 1000), IMAGE),
        "output: shape [1, 1000], expected [1, 1001]: 1000 classes after the background",
    ),
    "four axes": (
        lambda: build(lambda x: classifier(x)[:, None, None], IMAGE),
        "output: shape [1, 1, 1, 1001], expected [1, 1001]: 1000 classes after the background",
    ),
    "two outputs": (
        lambda: build(lambda x: (classifier(x), logits(x)), IMAGE),
        "output: 2 of them, expected one [1, 1001]",
    ),
    "whole numbers out": (
        lambda: build(lambda x: tf.cast(classifier(x) * 100, tf.int32), IMAGE),
        "output: int32, expected uint8 or float32",
    ),
    "float logits": (lambda: build(logits, IMAGE), "are not probabilities"),
    "integer logits": (lambda: quantised(softmax=False), "it is read as value / 255"),
    "not a number": (lambda: build(lambda x: tf.math.log(-1 - classifier(x)), IMAGE), "output: values that are not finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_classifiers(name, tmp_path):
    content, reason = BROKEN[name]
    (tmp_path / "model.tflite").write_bytes(content())
    [problem] = violations(tmp_path / "model.tflite", "classification")
    assert reason in problem
    assert "\n" not in problem


def test_classifiers_of_others(tmp_path):
    for i, content in enumerate((build(classifier, IMAGE), quantised())):
        (tmp_path / f"{i}.tflite").write_bytes(content)
        assert violations(tmp_path / f"{i}.tflite", "classification") == []


def test_the_command(capsys, tmp_path):
    """Our file with 1000 classes and a background passes. Our float file fails, because its input is not uint8."""
    network = make_network("ofa_small_k7", 0.5, 20, classes=1001)
    (tmp_path / "model.tflite").write_bytes(integer(network, random_images(4, 20)))
    (tmp_path / "model_float.tflite").write_bytes(convert_float(tf_network(network)))
    code, out, _ = ofa(capsys, "verify", "--contract", "classification", str(tmp_path / "model.tflite"))
    assert (code, out) == (0, "model.tflite: OK\n")
    code, out, _ = ofa(capsys, "verify", "--contract", "classification", str(tmp_path / "model_float.tflite"), "--json")
    assert code == 1
    assert json.loads(out)["problems"] == ["input: float32, expected uint8"]
    code, out, _ = ofa(capsys, "verify", "--contract", "detection", str(tmp_path / "model.tflite"))
    assert (code, out) == (1, "model.tflite: output: 1 of them, expected four: boxes, classes, scores, count\n")
    code, _, err = ofa(capsys, "verify", "--contract", "detection", str(tmp_path / "none.tflite"))
    assert code == 2
    assert err == f"error: {tmp_path / 'none.tflite'}: no such file\n"


# -------------------------------------------------------------------------------------------------------------- detection


def detections(image, count=100):
    """Boxes, classes, scores and count that depend on the image and meet the contract."""
    mean = tf.reduce_mean(tf.cast(image, tf.float32)) / 255.0
    corner, scores = np.linspace(0, 0.5, count, dtype=np.float32), np.linspace(1, 0, count, dtype=np.float32)
    boxes = tf.constant(np.stack([corner, corner, corner + 0.3, corner + 0.4], 1)[None])
    classes = tf.constant(np.arange(count, dtype=np.float32)[None] % 90)
    return boxes * mean, classes + 0 * mean, scores[None] * mean, tf.constant([float(count)]) + 0 * mean


def detector(change=lambda boxes, classes, scores, count: (boxes, classes, scores, count), count=100, spec=IMAGE):
    return build(lambda x: change(*detections(x, count)), spec)


BROKEN_DETECTORS = {
    "float input": (lambda: detector(spec=tf.TensorSpec((1, 8, 8, 3))), "input: float32, expected uint8"),
    "three outputs": (lambda: detector(lambda b, c, s, n: (b, c, s)), "output: 3 of them, expected four"),
    "ten results": (lambda: detector(count=10), "output 0: shape [1, 10, 4], boxes are expected as [1, 100, 4]"),
    "another order": (lambda: detector(lambda b, c, s, n: (c, b, s, n)), "output 0: shape [1, 100], boxes are expected"),
    "scores first": (lambda: detector(lambda b, c, s, n: (b, s, c, n)), "are classes and scores swapped?"),
    "whole classes": (
        lambda: detector(lambda b, c, s, n: (b, tf.cast(c, tf.int32), s, n)),
        "output 1: int32, classes are expected as float32",
    ),
    "rising scores": (lambda: detector(lambda b, c, s, n: (b, c, s[:, ::-1], n)), "output 2: scores do not fall"),
    "large scores": (lambda: detector(lambda b, c, s, n: (b, c, s * 255, n)), "output 2: scores do not fall"),
    "corners swapped": (lambda: detector(lambda b, c, s, n: (b[..., ::-1], c, s, n)), "output 0: boxes are not (ymin, xmin,"),
    "pixels": (lambda: detector(lambda b, c, s, n: (b * 300, c, s, n)), "output 0: boxes are not (ymin, xmin, ymax, xmax)"),
    "too many": (lambda: detector(lambda b, c, s, n: (b, c, s, n + 1)), "output 3: 101 is not a count of detections"),
    "not a number": (lambda: detector(lambda b, c, s, n: (b, c, tf.math.log(-1 - s), n)), "values that are not finite"),
}


@pytest.mark.parametrize("name", BROKEN_DETECTORS)
def test_broken_detectors(name, tmp_path):
    content, reason = BROKEN_DETECTORS[name]
    (tmp_path / "model.tflite").write_bytes(content())
    problems = violations(tmp_path / "model.tflite", "detection")
    assert problems
    assert reason in problems[0]


def test_detectors_that_keep_the_contract(tmp_path):
    for i, content in enumerate((detector(), with_post_processing())):
        (tmp_path / f"{i}.tflite").write_bytes(content)
        assert violations(tmp_path / f"{i}.tflite", "detection") == []


def with_post_processing():
    """A file that ends with TFLite's operator for detections, with 120 anchors and 3 classes."""
    anchors = tf.constant(np.random.default_rng(0).uniform(0.1, 0.9, (120, 4)), tf.float32)
    attributes = {"max_detections": 100, "max_classes_per_detection": 1, "detections_per_class": 100, "num_classes": 3}
    text = " ".join(f"attr {{ key: '{key}' value {{ i: {value} }} }}" for key, value in attributes.items())
    factors = {"y_scale": 10, "x_scale": 10, "h_scale": 5, "w_scale": 5, "nms_score_threshold": 0.01, "nms_iou_threshold": 0.6}
    text += " ".join(f" attr {{ key: '{key}' value {{ f: {value} }} }}" for key, value in factors.items())
    text = f"name: 'TFLite_Detection_PostProcess' {text} attr {{ key: 'use_regular_nms' value {{ b: true }} }}"

    @tf.function(experimental_implements=text)
    def post_process(boxes, scores, anchors):
        zeros = tf.zeros((1, 100))
        return tf.zeros((1, 100, 4)) + boxes[0, 0, 0] * anchors[0, 0], zeros + scores[0, 0, 0], zeros, tf.zeros((1,))

    def function(image):
        mean = tf.reduce_mean(tf.cast(image, tf.float32)) / 255.0
        boxes = mean * tf.constant(np.random.default_rng(1).normal(size=(1, 120, 4)), tf.float32)
        scores = mean * tf.constant(np.random.default_rng(2).uniform(size=(1, 120, 3)), tf.float32)
        return post_process(boxes, scores, anchors)

    return build(function, IMAGE)
