"""The loss of a step, pinned: its gradients equal those of a reference written out here, in every mode.

The reference takes logarithms of probabilities by hand. All in double precision.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ofa_core.nn.network import Network, SuperNetwork
from ofa_core.tasks.registry import get_task
from ofa_core.training import loop
from ofa_core.training.augment import augment
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.images import Images, TrainStream
from ofa_core.training.objective import Objective, Subnet, Weights
from ofa_core.training.params import PhaseParams, RoleParams
from ofa_core.training.shrinking import phase_objective
from tests.small_training import PHASE, SANDWICH, SHARED, SPACE, fresh

TASK = get_task("classification")
SUBNETS = [
    Subnet(SPACE.layers(SPACE.largest(24), 10), "largest"),
    Subnet(SPACE.layers(SPACE.smallest(20), 10), "smallest"),
    Subnet(SPACE.layers(SPACE.sample(np.random.default_rng(1)), 10), "middle"),
    Subnet(SPACE.layers(SPACE.sample(np.random.default_rng(2)), 10), "middle"),
]


def reference(
    net: SuperNetwork,
    weights: Mapping[str, tuple[float, float]],
    images: Mapping[int, Tensor],
    labels: Tensor,
    smoothing: Mapping[str, float],
    teacher: Network | str | None,
    subnets: Sequence[Subnet] = SUBNETS,
) -> tuple[Tensor, list[Tensor]]:
    """The sum of the losses of the sub-networks, and its gradients by parameter (zeros where there is none)."""
    net.dropout = 0.0
    total, soft = torch.zeros((), dtype=torch.float64), None
    if isinstance(teacher, Network):
        with torch.no_grad():
            soft = torch.softmax(teacher(images[24]), 1)
    for subnet in subnets:
        net.active = subnet.layers
        logits = net(images[subnet.resolution])  # (b, 10)
        logs = logits - logits.exp().sum(1, keepdim=True).log()
        if teacher == "largest" and subnet.role == "largest":
            soft = logits.detach().exp() / logits.detach().exp().sum(1, keepdim=True)
        eps, (on_labels, on_soft) = smoothing[subnet.role], weights[subnet.role]
        target = torch.full_like(logs, eps / 10)
        target[range(len(labels)), labels] += 1 - eps
        total = total + on_labels * -(target * logs).sum() / len(labels)
        if on_soft:
            assert soft is not None
            total = total + on_soft * -(soft * logs).sum() / len(labels)
    gradients = torch.autograd.grad(total, list(net.parameters()), allow_unused=True)
    return total.detach(), [torch.zeros_like(p) if g is None else g for p, g in zip(net.parameters(), gradients, strict=True)]


def found(net: SuperNetwork) -> list[Tensor]:
    """The gradients in a network by parameter."""
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """To 1e-6 of the largest gradient."""
    largest = max(float(g.abs().max()) for g in theirs)
    assert largest > 1e-3
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * largest)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("regularised", [("largest", "middle", "smallest"), ("largest",)])
@pytest.mark.parametrize(
    ("teacher", "weights"),
    [
        (None, {"largest": (1, 0), "middle": (1, 0), "smallest": (1, 0)}),
        (None, {"largest": (1, 0), "middle": (0.5, 0), "smallest": (2, 0)}),
        ("fixed", {"largest": (1, 0.5), "middle": (1, 1), "smallest": (0, 3)}),
        ("largest", {"largest": (1, 0), "middle": (0, 1), "smallest": (0.25, 0.75)}),
    ],
)
def test_gradients(
    teacher: str | None, weights: dict[str, tuple[float, float]], regularised: tuple[str, ...], mean: bool
) -> None:
    net, other = fresh().double().train(), fresh(5).extract(SPACE.largest()).double().eval()
    generator = torch.Generator().manual_seed(3)
    images = {r: torch.randn(8, 3, r, r, generator=generator, dtype=torch.float64) for r in (20, 24)}
    labels = torch.randint(10, (8,), generator=generator)
    objective = Objective(
        weights={role: Weights(*pair) for role, pair in weights.items()},  # type: ignore[misc]
        teacher=other if teacher == "fixed" else teacher,  # type: ignore[arg-type]
        mean=mean,
        label_smoothing=0.1,
        regularised=frozenset(regularised),  # type: ignore[arg-type]
    )
    share = 0.25
    loss = objective.backward(net, SUBNETS, images.__getitem__, lambda r: labels, TASK, share)
    smoothing = {role: 0.1 if role in regularised else 0.0 for role in weights}
    total, gradients = reference(net, weights, images, labels, smoothing, other if teacher == "fixed" else teacher)
    scale = share / len(SUBNETS) if mean else share
    assert_equal(found(net), [scale * gradient for gradient in gradients])
    torch.testing.assert_close(loss.double(), share / len(SUBNETS) * total, rtol=1e-6, atol=0)


@pytest.mark.parametrize("taught", [False, True])
def test_a_network_alone_learns_from_labels_and_from_a_teacher_if_it_has_one(taught: bool) -> None:
    net, other = fresh().double().train(), fresh(5).extract(SPACE.largest()).double().eval()
    images = {24: torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)}
    labels, teacher = torch.arange(8), other if taught else None
    objective = Objective.alone(0.1, 0.0, teacher, soft=0.5)
    objective.backward(net, SUBNETS[:1], images.__getitem__, lambda r: labels, TASK)
    weights = {"largest": (1.0, 0.5 if taught else 0.0)}
    assert_equal(found(net), reference(net, weights, images, labels, {"largest": 0.1}, teacher, SUBNETS[:1])[1])


def test_every_role_gets_a_gradient() -> None:
    """Each sub-network alone moves weights, in every phase that the parameters allow."""
    images, labels = {r: torch.randn(8, 3, r, r) for r in (20, 24)}, torch.arange(8)
    for phase in (PHASE, SANDWICH):
        objective = phase_objective(phase, SHARED, fresh(5).extract(SPACE.largest()).eval())
        for subnet in SUBNETS:
            if subnet.role in phase.roles:
                net = fresh().train()
                teachers = [] if subnet.role == "largest" or phase.teacher == "full" else SUBNETS[:1]
                objective.backward(net, [*teachers, subnet], images.__getitem__, lambda r: labels, TASK)
                with_teacher = found(net)
                net.zero_grad()
                if teachers:
                    objective.backward(net, teachers, images.__getitem__, lambda r: labels, TASK)
                assert any(not torch.equal(a, b) for a, b in zip(found(net), with_teacher, strict=True))


def test_dropout_is_of_the_regularised_roles() -> None:
    """With all features dropped, only the classifier's bias learns."""
    net = fresh().train()
    objective = Objective.alone(0.0, 0.999999)
    images, labels = {r: torch.randn(8, 3, r, r) for r in (20, 24)}, torch.arange(8)
    objective.backward(net, SUBNETS[:1], images.__getitem__, lambda r: labels, TASK)
    assert float(net.get_parameter("parts.classifier.weight").grad.abs().max()) == 0  # type: ignore[union-attr]
    free = replace(objective, regularised=frozenset({"smallest"}))
    net.zero_grad()
    free.backward(net, SUBNETS[:1], images.__getitem__, lambda r: labels, TASK)
    assert float(net.get_parameter("parts.classifier.weight").grad.abs().max()) > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (1, 4), (2, 1), (2, 2)])
def test_a_step_is_the_mean_of_its_parts(dataset: Path, processes: int, accumulate: int) -> None:
    """The gradients that all processes add up are those of the reference on each part, divided by the number of parts."""
    images, step = Images(dataset, "train"), 3
    shared = replace(SHARED, accumulate=accumulate, dropout=0.0)
    objective = phase_objective(SANDWICH, shared, fresh())
    weights = {role: (role_params.labels, role_params.soft) for role, role_params in SANDWICH.roles.items()}
    ours, theirs = [], []
    for rank in range(processes):
        net = fresh().train()
        group = ALONE if processes == 1 else Group(rank, processes, torch.device("cpu"))
        stream = TrainStream(images, shared.batch_size, [0, 1], rank, processes)
        loop._gradients(net, SUBNETS, objective, TASK, stream, step, shared, group)
        ours.append(found(net))
        for i in range(accumulate):
            batch, labels = {}, torch.from_numpy(images.labels[stream.indices(step)]).chunk(accumulate)[i]
            for r in (20, 24):
                pixels = stream.pixels(step, r, shared.crops).chunk(accumulate)[i]
                rng = np.random.default_rng([*stream.seed, 1, step, rank * accumulate + i])
                batch[r] = augment(pixels, rng, shared, r)
            smoothing = dict.fromkeys(weights, SHARED.label_smoothing)
            theirs.append(reference(fresh().train(), weights, batch, labels, smoothing, "largest")[1])
    summed = [sum(gradients) for gradients in zip(*ours, strict=True)]
    mean = [sum(gradients) / len(theirs) for gradients in zip(*theirs, strict=True)]
    largest = max(float(g.abs().max()) for g in mean)
    for a, b in zip(summed, mean, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * largest)  # single precision


ROLE = RoleParams(subnets=1, labels=1, soft=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles": {}}, "roles: empty"),
        ({"roles": {"largest": replace(ROLE, subnets=2)}, "teacher": "none"}, "roles.largest.subnets: 2: there is only 1"),
        ({"teacher": "none"}, "roles.middle.soft: 1.*: teacher is none"),
        ({"roles": {"middle": ROLE}}, "teacher: full: has no pupil"),
        ({"teacher": "largest"}, "teacher: largest: needs the role largest"),
        ({"roles": {"largest": replace(ROLE, soft=1)}, "teacher": "largest"}, "teacher: largest: needs the role largest"),
        ({"latency_ms": (0.1, 0.2)}, "latency_ms: .*goes with draw: latency"),
        ({"draw": "latency", "latency_ms": (0.2, 0.1)}, "latency_ms: .*the smaller one first"),
        ({"depths": (4, 2)}, "depths: .*is not ascending"),
        ({"warmup_epochs": 1}, "warmup_epochs: 1.* is not less than epochs"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PHASE, **changes)


def test_a_role_that_would_learn_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="these sub-networks would learn nothing"):
        RoleParams(subnets=1, labels=0, soft=0)


def test_all_teachers_can_be_had() -> None:
    """Every combination of teacher and weights is either refused or gives every role a loss."""
    accepted = 0
    for teacher, labels, soft in itertools.product(("none", "full", "largest"), (0, 1), (0, 1)):
        try:
            roles = {"largest": ROLE, "middle": RoleParams(subnets=1, labels=labels, soft=soft)}
            phase = PhaseParams(init="full", roles=roles, teacher=teacher, epochs=1, warmup_epochs=0, lr=0.1)  # type: ignore[arg-type]
        except ValueError:
            continue
        accepted += 1
        weights = phase_objective(phase, SHARED, fresh()).weights["middle"]
        assert weights.labels + weights.soft > 0
    assert accepted == 5
