"""Training on images with boxes: views, targets of anchors, SSD's loss against one written out here, steps that repeat."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ofa_core.detection.anchors import SSDAnchors
from ofa_core.detection.coding import decode
from ofa_core.detection.matching import IGNORED, UNMATCHED
from ofa_core.detection.postprocess import PostprocessSettings
from ofa_core.detectors.augment import View, draw_view, seen
from ofa_core.detectors.images import BoxImages
from ofa_core.detectors.loss import SoftTargets, Targets, hard_negatives, soft_ssd_loss, ssd_loss
from ofa_core.images.boxes import BoxSplit
from ofa_core.nn.inputs import SYMMETRIC
from tests.small_training import SHARED
from tests.squares import SIDE, squares, trained

BOXES = np.array([[0.1, 0.2, 0.6, 0.7], [0.5, 0.5, 0.9, 1.0]], np.float32)


def anchors(resolution: int) -> np.ndarray:
    grids = (resolution // 8, resolution // 16)
    found = SSDAnchors(grids=grids, min_scale=0.3, max_scale=0.8, aspect_ratios=(1.0, 2.0), reduce_lowest=False, clip=False)
    return found.boxes()


def box_images(split: BoxSplit) -> BoxImages:
    settings = PostprocessSettings(num_classes=2, score_threshold=0.05, iou_threshold=0.5, use_regular_nms=True)
    return BoxImages(split, anchors, (32, 40), settings)


@given(st.integers(0, 10**6), st.booleans())
def test_a_view_shows_the_boxes_whose_centre_it_holds(seed: int, mirrored: bool) -> None:
    view = draw_view(np.random.default_rng(seed), BOXES, SIDE, True, mirrored)
    top, left, height, width = view.crop
    assert 0 <= top <= top + height <= SIDE
    assert 0 <= left <= left + width <= SIDE
    found, kept = seen(BOXES, view, SIDE)
    assert len(found) == kept.sum() >= 1, "a crop without any box is drawn again"
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, :2] < found[:, 2:]).all()
    # Back in the image, a box is the part of the original that the crop holds.
    if view.mirrored:
        found[:, [1, 3]] = 1 - found[:, [3, 1]]
    back = (found * (height, width, height, width) + (top, left, top, left)) / SIDE
    window = np.array([top, left, top + height, left + width]) / SIDE
    expected = np.concatenate([np.maximum(BOXES[kept][:, :2], window[:2]), np.minimum(BOXES[kept][:, 2:], window[2:])], axis=1)
    np.testing.assert_allclose(back, expected, atol=1e-5)


def test_views_without_augmentation_are_the_image() -> None:
    view = draw_view(np.random.default_rng(0), BOXES, SIDE, False, False)
    assert view == View((0, 0, SIDE, SIDE), False)
    assert np.array_equal(seen(BOXES, view, SIDE)[0], BOXES)


def test_views_of_an_image_without_boxes() -> None:
    views = [draw_view(np.random.default_rng(i), BOXES[:0], SIDE, True, True) for i in range(50)]
    assert len({view.crop for view in views}) > 10
    assert all(len(seen(BOXES[:0], view, SIDE)[0]) == 0 for view in views)


def test_targets_are_the_matched_boxes() -> None:
    split = squares()
    images = box_images(split)
    whole = View((0, 0, SIDE, SIDE), False)
    classes, codes = images.targets(SIDE, 1, whole)
    found = np.flatnonzero(classes >= 0)
    assert set(classes[found]) == {1}
    np.testing.assert_allclose(decode(codes[found], anchors(SIDE)[found]), np.repeat(split.boxes[1], len(found), 0), atol=1e-5)
    assert (images.targets(SIDE, 0, whole)[0] == UNMATCHED).all(), "image 0 has no box"
    mirrored, _ = images.targets(SIDE, 1, whole._replace(mirrored=True))
    first = 5 * 5 * 3  # anchors of the first map, three at a position

    def flipped(row: np.ndarray, side: int) -> np.ndarray:
        return row.reshape(side, side, 3)[:, ::-1].reshape(-1)

    np.testing.assert_array_equal(mirrored, np.concatenate([flipped(classes[:first], 5), flipped(classes[first:], 2)]))


def test_crowds_are_ignored() -> None:
    split = squares()
    split.crowd[1][:] = True
    classes, _ = box_images(split).targets(SIDE, 1, View((0, 0, SIDE, SIDE), False))
    assert set(classes) == {UNMATCHED, IGNORED}


# ------------------------------------------------------------------------------------------------------------------- losses


def random_batch(seed: int, positives: bool = True) -> tuple[torch.Tensor, torch.Tensor, Targets]:
    rng = np.random.default_rng(seed)
    classes = rng.choice(
        [UNMATCHED, IGNORED, 0, 1, 2] if positives else [UNMATCHED, IGNORED],
        (3, 40),
        p=([0.8, 0.05, 0.05, 0.05, 0.05] if positives else [0.9, 0.1]),
    )
    codes, logits = torch.from_numpy(rng.normal(size=(3, 40, 4)) * 2), torch.from_numpy(rng.normal(size=(3, 40, 3)))
    return (
        codes.requires_grad_(),
        logits.requires_grad_(),
        Targets(torch.from_numpy(classes), torch.from_numpy(rng.normal(size=(3, 40, 4)))),
    )


@pytest.mark.parametrize(("seed", "positives", "smoothing"), [(0, True, 0.0), (1, True, 0.1), (2, False, 0.0)])
def test_the_loss_is_that_of_ssd(seed: int, positives: bool, smoothing: float) -> None:
    codes, logits, targets = random_batch(seed, positives)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(3):
        losses, matched = [], 0
        for a in range(40):
            label = int(targets.classes[i, a])
            loss = torch.zeros((), dtype=torch.float64)
            for c in range(3):
                wanted = (1 - smoothing) * (c == label) + smoothing / 2
                p = 1 / (1 + torch.exp(-logits[i, a, c]))
                loss = loss - wanted * torch.log(p) - (1 - wanted) * torch.log(1 - p)
            if label >= 0:
                matched += 1
                total = total + loss
                for k in range(4):
                    d = (codes[i, a, k] - targets.codes[i, a, k]).abs()
                    total = total + (0.5 * d**2 if d < 1 else d - 0.5)
            elif label == UNMATCHED:
                losses.append(loss)
        losses.sort(key=lambda loss: -float(loss.detach()))
        total = total + sum(losses[: max(3 * matched, 3)])
    total = total / max(1, int((targets.classes >= 0).sum()))
    found = ssd_loss(codes, logits, targets, smoothing)
    assert float(found.detach()) == pytest.approx(float(total.detach()), rel=1e-9)
    kept: dict[str, Any] = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    for x in (codes, logits):
        [expected], [gradient] = (
            torch.autograd.grad(total, x, **kept),
            torch.autograd.grad(found, x, **kept),
        )
        np.testing.assert_allclose(gradient, expected, atol=1e-9)


def test_hard_negatives_are_the_worst_of_each_image() -> None:
    losses = torch.tensor([[1.0, 5.0, 3.0, 4.0, 2.0, 9.0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    classes = torch.tensor([[-1, -1, -1, -1, -1, -2], [0, -1, -1, -1, -1, -1]])
    expected = [[False, True, True, True, False, False], [False, True, True, True, False, False]]
    assert hard_negatives(losses, classes).tolist() == expected


def test_distillation_vanishes_where_the_student_is_the_teacher() -> None:
    codes, logits, _ = random_batch(0)
    same = SoftTargets(logits.detach().sigmoid(), codes.detach())
    loss = soft_ssd_loss(codes, logits, same)
    assert all(float(gradient.abs().max()) < 1e-12 for gradient in torch.autograd.grad(loss, (codes, logits)))
    other = SoftTargets((logits.detach() + 1).sigmoid(), codes.detach() + 1)
    for x, gradient in zip(
        (codes, logits), torch.autograd.grad(soft_ssd_loss(codes, logits, other), (codes, logits)), strict=True
    ):
        assert (gradient < 0).all(), f"{x.shape}: towards the teacher, which is larger everywhere"


# -------------------------------------------------------------------------------------------------------------------- steps


def test_the_parts_of_a_step_repeat_and_agree_at_every_resolution() -> None:
    shared = replace(SHARED, crop_scale=(0.1, 1.0), accumulate=2, brightness=0.1)
    images = box_images(squares())
    stream = images.stream(16, [0, 1])
    first, again = ([*stream.parts(3, shared, torch.device("cpu"), SYMMETRIC)] for _ in range(2))
    assert len(first) == 2
    for (pixels, targets), (same, same_targets) in zip(first, again, strict=True):
        assert torch.equal(pixels(40), same(40))
        assert torch.equal(targets(32).classes, same_targets(32).classes)
        assert pixels(32).shape == (8, 3, 32, 32)
        assert targets(32).codes.shape == (8, len(anchors(32)), 4)
        for image, classes, codes in zip(pixels(40), targets(40).classes, targets(40).codes, strict=True):
            for place in np.flatnonzero(classes.numpy() >= 0)[:1]:
                box = decode(codes[place][None].numpy(), anchors(40)[place][None])[0].clip(0, 1) * 40
                top, left, bottom, right = box.round().astype(int)
                inside = image[0, top + 1 : bottom - 1, left + 1 : right - 1]
                assert inside.numel() == 0 or inside.mean() > 0, "the target lies on the white square"


def test_a_detector_learns_to_find_squares() -> None:
    """A step trains sub-networks as for any other task; val is scored by average precision."""
    found = trained()
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert found.before < 0.1 < 0.5 < min(found.scores.values()), found.scores
