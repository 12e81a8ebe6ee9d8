"""The task of classification: losses in plain arithmetic, scores with ties, agreement of outputs, reports."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from ofa_core.space.registry import get_space
from ofa_core.tasks import get_task
from ofa_core.tasks.task import joined
from tests.conftest import REPO

TASK = get_task("classification")


def outputs(*rows: list[float]) -> dict[str, np.ndarray]:
    return {"probabilities": np.array(rows, np.float32)}


def test_lookup() -> None:
    assert TASK.name == "classification"
    with pytest.raises(ValueError, match=r"^task: 'segmentation' is not one of classification, detection$"):
        get_task("segmentation")


def test_detection_is_imported_only_if_it_is_asked_for() -> None:
    """Else every edit of it would rerun the stages of classification."""
    program = (
        "import sys; from ofa_core.tasks.registry import get_task;"
        "[print(get_task(name).name, 'ofa_core.detection' in sys.modules) for name in ('classification', 'detection')]"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["classification False", "detection True"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_cross_entropy(smoothing: float) -> None:
    """Against torch's function, bit for bit, and against the formula."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    loss = TASK.loss(logits, labels, smoothing)
    assert torch.equal(loss, functional.cross_entropy(logits, labels, label_smoothing=smoothing))
    wanted = (1 - smoothing) * functional.one_hot(labels, 4) + smoothing / 4  # (6, 4)
    torch.testing.assert_close(loss, -(wanted * logits.log_softmax(1)).sum(1).mean())
    loss.backward()
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - wanted) / 6)


def test_distillation_is_cross_entropy_with_the_teachers_probabilities() -> None:
    logits, teacher = (torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    soft = TASK.soft_targets(teacher)
    torch.testing.assert_close(soft, teacher.exp() / teacher.exp().sum(1, keepdim=True))
    loss = TASK.distillation_loss(logits, soft)
    torch.testing.assert_close(loss, -(soft * logits.log_softmax(1)).sum(1).mean())
    # No student is below the teacher's entropy.
    assert TASK.distillation_loss(teacher, soft) < loss


def test_guessing_is_what_equal_logits_lose() -> None:
    loss = TASK.loss(torch.zeros(8, 10), torch.arange(8), 0.0)
    assert TASK.loss_of_guessing(10) == pytest.approx(loss.item())
    assert TASK.loss_of_guessing(1000) == math.log(1000)


def test_ties_count_for_the_first_class() -> None:
    found = TASK.answers(outputs([0.25, 0.25, 0.25, 0.25, 0, 0, 0], [0, 0, 0, 0.4, 0.2, 0.4, 0]))
    assert found.tolist() == [[0, 1, 2, 3, 4], [3, 5, 4, 0, 1]]
    assert TASK.score(found, np.array([0, 3])) == {"top1": 1.0, "top5": 1.0, "balanced_top1": 1.0}
    assert TASK.score(found, np.array([1, 5])) == {"top1": 0.0, "top5": 1.0, "balanced_top1": 0.0}
    assert TASK.score(found, np.array([5, 3])) == {"top1": 0.5, "top5": 0.5, "balanced_top1": 0.5}
    assert TASK.score_name == "top1"


def test_few_classes_have_few_answers() -> None:
    found = TASK.answers(outputs([0.1, 0.9], [0.6, 0.4]))
    assert found.tolist() == [[1, 0], [0, 1]]
    assert TASK.score(found, np.array([1, 1])) == {"top1": 0.5, "top5": 1.0, "balanced_top1": 0.5}


def test_networks_and_files_are_scored_alike() -> None:
    """Batches of unequal size, read once, with ties among the logits."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 6, generator=generator).round()
    labels = torch.randint(6, (50,), generator=generator)
    parts = [(logits[:30], labels[:30]), (logits[30:], labels[30:])]
    finished = joined([TASK.finished(part) for part, _ in parts])
    np.testing.assert_allclose(finished["probabilities"].sum(1), 1, rtol=1e-6)
    score = TASK.score(TASK.answers(finished), labels.numpy())
    labels_of = labels.numpy()
    right = TASK.correct(TASK.answers(finished), labels_of)
    recalls = [right[labels_of == label].mean() for label in set(labels_of.tolist())]
    assert score["balanced_top1"] == pytest.approx(sum(recalls) / len(recalls))
    assert 0 < score["top1"] < score["top5"] < 1
    assert TASK.network_score(iter(parts)) == score["top1"]
    probabilities = torch.tensor(finished["probabilities"])[range(50), labels]
    assert TASK.network_measures(iter(parts)) == {
        "top1": score["top1"],
        "cross_entropy": pytest.approx(-float(probabilities.log().mean()), rel=1e-6),
    }


def test_comparison_of_float_outputs() -> None:
    a, b = outputs([0.5, 0.3, 0.2], [0.1, 0.8, 0.1]), outputs([0.3, 0.5, 0.2], [0.1, 0.8, 0.1])
    assert TASK.compare(a, a) == {"largest_difference": 0.0, "same_top1": 1.0}
    assert TASK.compare(a, b) == {"largest_difference": pytest.approx(0.2), "same_top1": 0.5}
    b["probabilities"][0, 0] = np.nan
    assert math.isnan(TASK.compare(a, b)["largest_difference"])


def test_comparison_in_steps_leaves_out_what_is_zero_in_both() -> None:
    a, b = outputs([200, 56, 0, 0], [100, 101, 55, 0]), outputs([198, 56, 2, 0], [102, 100, 54, 0])
    assert TASK.compare_steps(a, b) == {"same_top1": 0.5, "same_values": pytest.approx(1 / 6), "largest_steps": 2.0}


def test_a_file_with_other_outputs_is_refused() -> None:
    probabilities = np.zeros((1, 3), np.float32)
    assert list(TASK.named(probabilities)) == ["probabilities"]
    with pytest.raises(ValueError, match="zip"):
        TASK.named(probabilities, probabilities)


def test_what_is_shown() -> None:
    report = TASK.report(outputs([0.125, 0.5, 0.375]), ["cat", "dog", "bird"])
    assert report == {
        "top": [
            {"index": 1, "label": "dog", "probability": 0.5},
            {"index": 2, "label": "bird", "probability": 0.375},
            {"index": 0, "label": "cat", "probability": 0.125},
        ]
    }
    assert TASK.lines(report) == [" 50.00%  dog", " 37.50%  bird", " 12.50%  cat"]
    assert TASK.summary({"top1": 0.8839, "top5": 0.99, "balanced_top1": 0.8}) == (
        "top1 88.39%, top5 99.00%, balanced_top1 80.00%"
    )


def test_shares_among_metrics() -> None:
    shares = ["top1", "float_top1", "float_top5", "predicted_top1", "onnx_same_top1_as_torch"]
    others = ["latency_ms", "float_latency_spread_ms", "images", "device", "stop1", "desktop5"]
    assert [name for name in shares + others if TASK.is_share(name)] == shares


def test_classes_of_a_network() -> None:
    space = get_space("ofa_small_k7", 0.5)
    assert TASK.class_count([layer.out for layer in space.layers(space.smallest(), 7)]) == 7


def test_the_best_class_is_found_in_this_place_alone() -> None:
    """Export, evaluation, commands and release ask the task instead of taking the largest value of a vector.

    Programs on cards are text, so they do not count.
    """
    package = REPO / "ofa_core"
    modules = [path for folder in ("export", "evaluation", "commands", "release") for path in (package / folder).rglob("*.py")]
    assert len(modules) > 15
    assert [str(path) for path in modules if ranks_classes(path)] == []
    assert ranks_classes(package / "tasks/classification.py")


def ranks_classes(path: Path) -> bool:
    """Whether a module calls argmax or argsort, as a function or a method."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr in ("argmax", "argsort") for call in calls)
