"""Suspicious labels: flipped ones are found among real photos, and none among photos whose labels are right."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from ofa_core.examine.examine import examine
from ofa_core.examine.labels import suspicious_labels
from tests.doctored import photos
from tests.examine.lite0 import features, square, weights


@pytest.fixture(scope="module")
def groceries(tmp_path_factory):
    """Names, features and labels of 20 kinds of groceries, about 900 photos."""
    state = weights(tmp_path_factory.mktemp("lite0"))
    everything = photos(prefix="train/")
    kind = {name: name.split("/")[1] for name in everything}
    sizes = {label: list(kind.values()).count(label) for label in kind.values()}
    classes = sorted(sorted(sizes, key=lambda label: (-sizes[label], label))[:20])
    names = [name for name in everything if kind[name] in classes]
    labels = np.array([classes.index(kind[name]) for name in names])
    contents = [everything[name] for name in names]
    return names, contents, features(state, contents, 96), labels, classes


def flipped(labels, share, seed):
    """The labels with a share replaced by others, and which."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    wrong = labels.copy()
    wrong[chosen] = (labels[chosen] + rng.integers(1, labels.max() + 1, len(chosen))) % (labels.max() + 1)
    return wrong, chosen


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flipped_labels_are_found(groceries, seed):
    _, _, found, labels, _ = groceries
    given, chosen = flipped(labels, 0.05, seed)
    suspects = suspicious_labels(found, given, seed=0)
    hits = np.isin(suspects.indices, chosen)
    assert hits.sum() >= 0.8 * len(chosen)
    assert hits.mean() >= 0.5
    assert (suspects.suggested[hits] == labels[suspects.indices[hits]]).mean() > 0.8
    assert (np.diff(suspects.wrong) <= 0).all()
    assert suspects.share == pytest.approx(0.05, abs=0.02)


@pytest.mark.slow
def test_right_labels_are_left_alone(groceries):
    _, _, found, labels, _ = groceries
    assert len(suspicious_labels(found, labels, seed=0).indices) <= 0.005 * len(labels)


@pytest.mark.slow
def test_report_and_sheet(groceries):
    names, contents, found, labels, classes = groceries
    given, _ = flipped(labels, 0.05, 0)
    images = np.stack([square(content, 96) for content in contents])
    report, sheet = examine(images, given, classes, found, names)
    assert json.loads(json.dumps(report)) == report
    assert report["suspicious_labels"] == len(report["labels"])
    first = report["labels"][0]
    assert first["image"] in names
    assert first["given"] != first["suggested"]
    assert sheet is not None
    assert len(sheet) < 400_000
    with Image.open(io.BytesIO(sheet)) as opened:
        assert opened.format == "PNG"
        assert max(opened.size) < 1500
    assert examine(images, given, classes, found)[0]["labels"][0]["image"] == str(names.index(first["image"]))


def clusters(count, classes, seed=0):
    """Features around one centre for each class, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return np.abs(rng.normal(size=(classes, 20))[labels] * 3 + rng.normal(size=(count, 20))), labels


def test_equal_arguments_give_equal_lists():
    found, labels = clusters(300, 3)
    given, _ = flipped(labels, 0.1, 0)
    first, second = (suspicious_labels(found, given, seed=4) for _ in range(2))
    assert (first.indices == second.indices).all()
    assert (first.wrong == second.wrong).all()


def test_nothing_suspicious_gives_no_sheet():
    found, labels = clusters(120, 3)
    report, sheet = examine(np.zeros((120, 8, 8, 1), np.uint8), labels, ["a", "b", "c"], found)
    assert (report["suspicious_labels"], report["labels"], sheet) == (0, [], None)


@pytest.mark.parametrize(
    ("found", "labels", "message"),
    [
        (np.zeros((4, 3)), np.zeros(3, np.int64), r"features: \(4, 3\), labels: \(3,\): not \(N, D\) and \(N,\)"),
        (np.full((4, 3), np.nan), np.array([0, 0, 1, 1]), "features: not all are finite"),
        (np.zeros((4, 3)), np.zeros(4, np.int64), "labels: only one class; nothing to compare with"),
        (np.zeros((4, 3)), np.array([0, 0, 0, 1]), "labels: class 1 has 1 images; it needs 2"),
    ],
)
def test_bad_arrays_are_one_line(found, labels, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        suspicious_labels(found, labels, seed=0)
