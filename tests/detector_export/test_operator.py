"""TFLite's operator for detections at the end of a file, against its NumPy reference."""

import functools
import hashlib
import subprocess
import sys
from dataclasses import replace

import flatbuffers
import numpy as np
import pytest
from flatbuffers import flexbuffers

from ofa_core.convert.operators import operators
from ofa_core.convert.tensorflow import read_model, schema, write_model
from ofa_core.detection.postprocess import postprocess
from ofa_core.detector_export.operator import OPERATOR, TENSORS, append_postprocess, attributes
from ofa_core.runtime.tflite import make_interpreter
from tests.conftest import REPO
from tests.detection.test_anchors import PUBLISHED
from tests.detector_export.detection_head import ANCHORS, SETTINGS, bare_file, random_inputs

IO = ("float32", "uint8", "int8")
BOXES = ANCHORS.boxes()
FULL = 5
"""Seed of an input with many detections."""


@functools.cache
def bare(io, **changes):
    return bare_file(io, **changes)


def prepared(content):
    interpreter = make_interpreter(content)
    return interpreter, interpreter.get_signature_runner("serving_default").get_input_details()


def run(interpreter, details, encodings, logits):
    """The outputs of a file in their order; a full-integer one gets its inputs on its grids, and gives values."""
    for name, values in (("encodings", encodings), ("logits", logits)):
        if details[name]["dtype"] != np.float32:
            scale, zero_point = details[name]["quantization"]
            limits = np.iinfo(details[name]["dtype"])
            values = (values / scale + zero_point).round().clip(limits.min, limits.max).astype(details[name]["dtype"])
        interpreter.set_tensor(details[name]["index"], values)
    interpreter.invoke()
    found = []
    for output in interpreter.get_output_details():
        values = interpreter.get_tensor(output["index"])
        if output["dtype"] != np.float32:
            scale, zero_point = output["quantization"]
            values = (values.astype(np.float32) - zero_point) * np.float32(scale)
        found.append(values)
    return found


def valid(boxes, classes, scores, count, most=1):
    """The valid rows (n, 6) of the operator's outputs: score, box, class."""
    used = int(count[0]) * most
    return np.column_stack([scores[0, :used], boxes[0, :used], classes[0, :used]])


def expected(encodings, scores, settings, anchors=BOXES):
    boxes, labels, values = postprocess(encodings[0], scores[0], anchors, settings)
    return np.column_stack([values, boxes, labels])


def by_score_and_box(rows):
    """Rows sorted by score, then by box, then by class. Rounded, so that equal boxes stay equal."""
    return rows[np.lexsort(rows.round(5).T[::-1])]


@pytest.mark.parametrize("regular", [True, False], ids=["regular", "fast"])
@pytest.mark.parametrize("io", IO)
def test_the_operator_is_its_reference(io, regular):
    """On 100 random inputs each, from the values that the file without the operator gives."""
    settings = replace(SETTINGS, use_regular_nms=regular)
    before, after = prepared(bare(io)), prepared(append_postprocess(bare(io), BOXES, settings))
    counts, suppressed = [], 0
    for seed in range(100):
        encodings, scores = run(*before, *random_inputs(seed))
        found, wanted = valid(*run(*after, *random_inputs(seed))), expected(encodings, scores, settings)
        counts.append(len(found))
        suppressed += (scores.max(axis=2) >= 0.3).sum() > len(found)
        assert len(found) == len(wanted)
        np.testing.assert_allclose(found[:, 0], wanted[:, 0], atol=1e-5)  # best first, in both
        np.testing.assert_allclose(by_score_and_box(found), by_score_and_box(wanted), atol=1e-5)
    assert min(counts) < 10
    assert max(counts) == 100
    assert suppressed > 50


def test_fast_suppression_in_several_threads():
    """Regular suppression loses a class then, see `detector_export.operator`."""
    content = append_postprocess(bare("float32"), BOXES, replace(SETTINGS, use_regular_nms=False))
    one, details = prepared(content)
    for threads in (2, 4):
        several = make_interpreter(content, threads)
        for seed in range(10):
            found, wanted = (valid(*run(interpreter, details, *random_inputs(seed))) for interpreter in (several, one))
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_detections": 7},
        {"detections_per_class": 3},
        {"iou_threshold": 0.2, "score_threshold": 0.1},
        {"iou_threshold": 1.0},
        {"score_threshold": 0.8},
        {"scales": (5.0, 6.0, 3.0, 2.0)},
        {"use_regular_nms": False, "max_classes_per_detection": 3},
        {"use_regular_nms": False, "max_detections": 7, "score_threshold": 0.6},
    ],
    ids=str,
)
def test_every_setting_reaches_the_operator(changes):
    settings = replace(SETTINGS, **changes)
    before, after = prepared(bare("float32")), prepared(append_postprocess(bare("float32"), BOXES, settings))
    differ = 0
    for seed in range(10):
        inputs = random_inputs(seed)
        outputs, wanted = run(*after, *inputs), expected(*run(*before, *inputs), settings)
        found = valid(*outputs, most=settings.max_classes_per_detection)
        assert outputs[0].shape == (1, settings.max_detections * settings.max_classes_per_detection, 4)
        np.testing.assert_allclose(by_score_and_box(found), by_score_and_box(wanted), atol=1e-5)
        default = expected(*run(*before, *inputs), SETTINGS)
        differ += found.shape != default.shape or np.abs(found - default).max() > 0.01
    assert differ > 3


@pytest.mark.parametrize("io", IO)
def test_outputs_after_an_empty_image(io):
    """Regular suppression writes zeros after the detections. Fast leaves the last image's rows, so readers need the count."""
    inputs = random_inputs(FULL)
    blank = (inputs[0], np.full_like(inputs[1], -9))
    few = (inputs[0], np.where(np.arange(ANCHORS.count)[:, None] % 90 == 0, inputs[1] + 5, -9).astype(np.float32))
    for regular in (True, False):
        settings = replace(SETTINGS, use_regular_nms=regular)
        before, after = prepared(bare(io)), prepared(append_postprocess(bare(io), BOXES, settings))
        assert run(*after, *inputs)[3][0] > 30
        boxes, _, scores, count = run(*after, *blank)
        assert count.tolist() == [0]
        assert boxes.any() == scores.any() == (not regular)
        run(*after, *inputs)
        found, wanted = valid(*run(*after, *few)), expected(*run(*before, *few), settings)
        assert 0 < len(found) < 30
        np.testing.assert_allclose(by_score_and_box(found), by_score_and_box(wanted), atol=1e-5)


def test_the_published_size():
    """1,917 anchors and 90 classes, at the published threshold of the scores."""
    sizes, anchors = {"anchors": 1917, "classes": 90}, PUBLISHED.boxes()
    settings = replace(SETTINGS, num_classes=90, score_threshold=1e-8, iou_threshold=0.6)
    content = bare("float32", **sizes)
    for regular in (True, False):
        settings = replace(settings, use_regular_nms=regular)
        before, after = prepared(content), prepared(append_postprocess(content, anchors, settings))
        inputs = random_inputs(FULL, **sizes)
        found, wanted = valid(*run(*after, *inputs)), expected(*run(*before, *inputs), settings, anchors)
        assert len(found) == 100
        np.testing.assert_allclose(by_score_and_box(found), by_score_and_box(wanted), atol=1e-5)


@pytest.mark.parametrize("io", IO)
def test_names_order_and_types(io):
    content = append_postprocess(bare(io), BOXES, SETTINGS)
    interpreter = make_interpreter(content)
    details = interpreter.get_output_details()
    assert (
        [output["name"] for output in details] == [OPERATOR, f"{OPERATOR}:1", f"{OPERATOR}:2", f"{OPERATOR}:3"] == list(TENSORS)
    )
    assert [output["shape"].tolist() for output in details] == [[1, 100, 4], [1, 100], [1, 100], [1]]
    assert all(output["dtype"] == np.float32 for output in details)
    inputs = make_interpreter(bare(io)).get_input_details()
    assert [d["dtype"] for d in interpreter.get_input_details()] == [d["dtype"] for d in inputs]
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature["inputs"] == ["encodings", "logits"]
    assert sorted(signature["outputs"]) == ["boxes", "classes", "count", "scores"]
    runner = interpreter.get_signature_runner("serving_default").get_output_details()
    names = [runner[name]["name"] for name in ("boxes", "classes", "scores", "count")]
    assert names == [output["name"] for output in details]
    added = operators(content) - operators(bare(io))
    assert added == {OPERATOR: 1} | ({} if io == "float32" else {"DEQUANTIZE": 2})


def test_attributes_and_anchors_are_in_the_file():
    model = read_model(append_postprocess(bare("float32"), BOXES, SETTINGS))
    operator = model.subgraphs[0].operators[-1]
    assert flexbuffers.Loads(bytes(operator.customOptions)) == attributes(SETTINGS)
    stored = model.buffers[model.subgraphs[0].tensors[operator.inputs[2]].buffer].data
    np.testing.assert_array_equal(np.frombuffer(bytes(stored), "<f4").reshape(-1, 4), BOXES)


@pytest.mark.parametrize("io", IO)
def test_constants_stay_aligned(io):
    content = append_postprocess(bare(io), BOXES, SETTINGS)
    model = schema.Model.GetRootAsModel(content, 0)
    vectors = [model.Buffers(i)._tab for i in range(model.BuffersLength()) if model.Buffers(i).DataLength()]
    slot = 4 + 2 * flatbuffers.number_types.UOffsetTFlags.py_type(0)  # of the first field, data
    assert len(vectors) > 1
    assert [table.Vector(table.Offset(slot)) % 16 for table in vectors] == [0] * len(vectors)


def test_two_processes_write_the_same_bytes():
    command = [sys.executable, "-m", "tests.detector_export.detection_head", "uint8"]
    other = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout.strip()
    content = append_postprocess(bare("uint8"), BOXES, SETTINGS)
    assert hashlib.md5(content).hexdigest() == other


def test_four_classes_are_told_from_four_coordinates_by_name():
    """The converter puts these two in another order than their names'; the shapes are equal."""
    settings = replace(SETTINGS, num_classes=4)
    for names in (("boxes", "classes"), ("b", "x9"), ("a", "b")):
        content = bare("float32", classes=4, names=names)
        runner = make_interpreter(content).get_signature_runner("serving_default")
        encodings, logits = random_inputs(FULL, classes=4)
        before = runner(encodings=encodings, logits=logits)
        after = prepared(append_postprocess(content, BOXES, settings))
        found = valid(*run(*after, encodings, logits))
        wanted = expected(before[names[0]], before[names[1]], settings)
        np.testing.assert_allclose(by_score_and_box(found), by_score_and_box(wanted), atol=1e-5)


def test_a_file_without_a_signature():
    model = read_model(bare("float32"))
    model.signatureDefs = None
    content = append_postprocess(write_model(model), BOXES, SETTINGS)
    assert [output["name"] for output in make_interpreter(content).get_output_details()] == list(TENSORS)
    assert not make_interpreter(content).get_signature_list()


COUNT = ANCHORS.count
BROKEN = {
    "other anchors": (lambda: (bare("float32"), BOXES[1:], SETTINGS), rf"outputs: .* \[\[1, {COUNT - 1}, 4\], .*"),
    "other classes": (lambda: (bare("float32"), BOXES, replace(SETTINGS, num_classes=6)), rf"outputs: .* \[1, {COUNT}, 6\]\]"),
    "scores first": (
        lambda: (bare("float32", names=("y", "x")), BOXES, SETTINGS),
        rf"outputs: shapes \[\[1, {COUNT}, 5\], \[1, {COUNT}, 4\]\], expected encodings and scores .*",
    ),
    "twice": (
        lambda: (append_postprocess(bare("float32"), BOXES, SETTINGS), BOXES, SETTINGS),
        r"outputs: shapes \[\[1, 100, 4\], .*",
    ),
    "anchors of another form": (lambda: (bare("float32"), BOXES[None], SETTINGS), r"anchors: shape .*, expected \[A, 4\]"),
    "not a file": (lambda: (b"0" * 100, BOXES, SETTINGS), "not a TFLite file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_and_anchors_that_do_not_fit(name):
    arguments, message = BROKEN[name]
    with pytest.raises(ValueError, match=f"^{message}$"):
        append_postprocess(*arguments())
