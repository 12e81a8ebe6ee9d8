"""Training on real images: schedule, streams, phases, repeatability, resuming, evaluation and files."""

import itertools
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ofa_core.nn import build_supernet
from ofa_core.nn.inputs import to_input
from ofa_core.nn.official import load_official
from ofa_core.nn.weights import describe, load_network, load_weights, read_description, save_network, save_weights, transfer
from ofa_core.run import files
from ofa_core.space.layer_sums import LayerSum
from ofa_core.space.registry import get_space, space_of
from ofa_core.specialize.fine_tuning import saved_score
from ofa_core.training import loop
from ofa_core.training.checkpoint import COLUMNS, Progress
from ofa_core.training.distributed import ALONE, Group
from ofa_core.training.ema import MovingAverage
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images, TrainStream
from ofa_core.training.loop import Schedule, Validation, always
from ofa_core.training.metrics import at_extremes, cost, supernet_metrics, write_history
from ofa_core.training.monitor import Live
from ofa_core.training.objective import Subnet
from ofa_core.training.shrinking import corners, full_part, latency_draw, phase_objective, sort_for_phase
from tests.conftest import shared_data
from tests.small_training import (
    LABELS,
    PHASE,
    RARELY,
    SANDWICH,
    SCHEDULE,
    SHARED,
    SPACE,
    fresh,
    phase_of,
    state_bytes,
    train_supernet,
)


def test_schedule() -> None:
    schedule = Schedule(epochs=2, warmup_epochs=0.5, lr=0.4)
    rates = [schedule.rate(step, 10) for step in range(schedule.steps(10))]
    assert len(rates) == 20
    assert rates[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert rates[5] == pytest.approx(0.4)
    assert all(a > b for a, b in itertools.pairwise(rates[5:]))
    assert 0 < rates[-1] < 0.01
    ending = Schedule(epochs=2, warmup_epochs=0.4, lr=0.4, final=0.25)  # 4 steps, then 16 from 0.4 towards 0.1
    assert [ending.rate(step, 10) for step in (3, 4, 12, 20)] == pytest.approx([0.4, 0.4, 0.25, 0.1])
    assert Schedule(epochs=0.01, warmup_epochs=0, lr=0.4).steps(10) == 1


def test_a_step_is_nesterovs_with_decay_of_matrices_only(dataset: Path, tmp_path: Path) -> None:
    images, net, plain = Images(dataset, "train"), fresh(), fresh().train()
    shared = replace(SHARED, momentum=0.5, weight_decay=0.1, dropout=0.0)
    train_supernet(net, images, tmp_path, always(net), Schedule(epochs=0.1, warmup_epochs=0, lr=0.2), shared)
    stream = TrainStream(images, 32, [0, zlib.crc32(b"demo")])
    loop._gradients(plain, [Subnet(plain.active)], LABELS, images.task, stream, 0, shared, ALONE)
    for after, before in zip(net.parameters(), plain.parameters(), strict=True):
        if before.grad is None:  # not used in this step
            assert torch.equal(after, before)
        else:  # a first step with momentum m goes 1 + m times as far
            decayed = before.grad + 0.1 * before * (before.dim() > 1)
            torch.testing.assert_close(after, before - 0.2 * 1.5 * decayed)


def test_every_epoch_is_a_permutation(dataset: Path) -> None:
    images = Images(dataset, "train")
    stream = TrainStream(images, 32, [0, 1])
    epochs = [np.concatenate([stream.indices(step) for step in range(e * 10, e * 10 + 10)]) for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(320))] * 2
    assert (epochs[0] != epochs[1]).any()
    # The images of a step depend only on its number.
    assert (TrainStream(images, 32, [0, 1]).indices(13) == stream.indices(13)).all()
    with pytest.raises(ValueError, match=r"batch_size: 400 is more than the 320"):
        TrainStream(images, 400, [0])


def test_phase_samples_its_choices_only() -> None:
    sample, rng = phase_of(fresh()), np.random.default_rng(0)
    drawn = [subnet for _ in range(40) for subnet in sample(rng)]
    assert {subnet.role for subnet in drawn} == {"middle"}
    blocks = [layer for subnet in drawn for layer in subnet.layers if layer.kind == "mbconv" and layer.name != "block_0"]
    assert {layer.kernel for layer in blocks} == {3, 7}
    assert {subnet.resolution for subnet in drawn} == {20, 24}
    part = PHASE.part(SPACE)
    assert {gene.field: gene.choices for gene in part.genes} == {"ks": (3, 7), "e": (4, 6), "d": (2, 4)}
    found = corners(part)
    assert (found["smallest"].ks, found["largest"].d) == ((3,) * 12, (4,) * 3)
    assert list(at_extremes(found, (20, 24)))[:2] == ["smallest_r20", "smallest_r24"]
    full = full_part(SPACE)
    assert full.cardinality() == 1
    assert full.smallest(24) == full.largest() == SPACE.largest()


def test_draws_cover_latencies_evenly() -> None:
    """With MACs as latencies: as many in each of four equal ratios; uniform draws hardly reach the outer ones."""
    macs = LayerSum(SPACE, lambda layer: layer.macs, 10)
    draw, rng = latency_draw(SPACE, macs.of_codes, None, seed=0), np.random.default_rng(0)
    drawn = macs([draw(rng) for _ in range(400)])
    bounds = np.geomspace(drawn.min(), drawn.max(), 5)
    assert (np.histogram(drawn, bounds)[0] > 60).all()
    assert (np.histogram(macs([SPACE.sample(rng) for _ in range(400)]), bounds)[0][[0]] < 20).all()
    low, high = 0.9e6, 1.0e6
    within = macs([latency_draw(SPACE, macs.of_codes, (low, high), seed=0)(rng) for _ in range(20)])
    assert (within >= low).all()
    assert (within <= high).all()
    assert np.ptp(within) > 0.02e6
    with pytest.raises(ValueError, match=r"latency_ms: no sub-network within \(1, 2\) ms; there are "):
        latency_draw(SPACE, macs.of_codes, (1, 2), seed=0)


def test_training_repeats_and_resumes(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that is killed after any step and restarted ends with exactly the weights of an uninterrupted run."""
    monkeypatch.setattr(loop, "HISTORY_STEPS", 3)
    images = Images(dataset, "train")
    objective = phase_objective(PHASE, SHARED, fresh(9).extract(SPACE.largest()).eval())
    schedule, averaged = Schedule(epochs=1, warmup_epochs=0.2, lr=0.1), replace(SHARED, ema_decay=0.9)

    def run(work: Path) -> tuple[bytes, list[dict[str, float]]]:
        net = fresh()
        validation = Validation(epochs=0.4, measure=lambda trained: {"mean": float(next(trained.parameters()).detach().mean())})
        progress = train_supernet(
            net, images, work, phase_of(net), schedule, averaged, seed=5, objective=objective, validation=validation
        )
        assert [row["epoch"] for row in progress.validations] == [0.4, 0.8]
        return state_bytes(net), progress.history

    expected, history = run(tmp_path / "a")
    assert [row["step"] for row in history] == [3, 4, 6, 8, 9, 10]
    assert history[-1]["loss"] < history[0]["loss"]

    calls = itertools.count()
    step = loop._gradients

    def killed(*args: Any) -> torch.Tensor:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(loop, "_gradients", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b")
    assert (tmp_path / "b/checkpoint.pt").is_file()
    again, rows = run(tmp_path / "b")
    assert next(calls) == 7 + 1 + 4  # from the checkpoint after step 6 on
    assert (again, rows) == (expected, history)


def test_sandwich_with_in_place_distillation(dataset: Path, tmp_path: Path) -> None:
    net = fresh()
    sample, found = phase_of(net, SANDWICH), corners(SANDWICH.part(SPACE))
    subnets = sample(np.random.default_rng(0))
    assert [subnet.role for subnet in subnets] == ["largest", "smallest", "middle", "middle"]
    for subnet in subnets[:2]:
        assert subnet.layers == SPACE.layers(replace(found[subnet.role], r=subnet.resolution), 10)
    objective = phase_objective(SANDWICH, SHARED, net)
    history = train_supernet(net, Images(dataset, "train"), tmp_path, sample, replace(SCHEDULE, epochs=4), objective=objective)
    assert history.history[-1]["loss"] < history.history[0]["loss"]


def test_transfer_keeps_all_but_a_foreign_classifier(tmp_path: Path) -> None:
    source = fresh(1)
    save_weights(tmp_path / "ten.safetensors", source, describe(source, full_part(SPACE)))
    torch.manual_seed(2)
    same, other = build_supernet(SPACE, 10), build_supernet(SPACE, 3)
    head = other.state_dict()["parts.classifier.weight"].clone()
    for net in (same, other):
        transfer(tmp_path / "ten.safetensors", net)
    assert state_bytes(same) == state_bytes(source)
    state = other.state_dict()
    assert torch.equal(state["parts.classifier.weight"], head)
    assert all(torch.equal(state[name], value) for name, value in source.state_dict().items() if "classifier" not in name)
    with pytest.raises(ValueError, match="does not fit the network"):
        transfer(tmp_path / "ten.safetensors", build_supernet(get_space("ofa_small_k7", 1.0), 10))


def test_transfer_from_the_published_layout() -> None:
    space = get_space("ofa_mbv3", 0.25)
    net = build_supernet(space, 7)
    transfer(shared_data("parity/mbv3_w025/checkpoint.pth"), net)
    expected = build_supernet(space, 10)
    load_official(expected, shared_data("parity/mbv3_w025/checkpoint.pth"))
    for name, value in expected.state_dict().items():
        if "classifier" not in name:
            assert torch.equal(net.state_dict()[name], value), name


def test_sorting_keeps_what_was_supported(dataset: Path) -> None:
    net, part = fresh().eval(), PHASE.part(SPACE)
    x = to_input(Images(dataset, "val").batches(24, 64)[0][0])
    with torch.no_grad():
        before = net(x)
        sort_for_phase(net, part, full_part(SPACE))
        torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-5)
        sorted_state = state_bytes(net)
        sort_for_phase(net, part, part)  # no narrower width, so nothing moves
    assert state_bytes(net) == sorted_state


def test_specialised_network_is_the_sub_network(dataset: Path, tmp_path: Path) -> None:
    train_images, val = Images(dataset, "train"), Images(dataset, "val")
    net = fresh()
    train_supernet(net, train_images, tmp_path)
    evaluator = Evaluator(train_images, val, 64, seed=0)
    arch = SPACE.sample(np.random.default_rng(3))
    accuracy = evaluator.subnet_score(net, arch)
    save_network(tmp_path / "net.safetensors", net.extract(arch), arch, describe(net, SPACE))
    assert saved_score(tmp_path / "net.safetensors", dataset, "val", 1) == accuracy
    loaded, loaded_arch = load_network(tmp_path / "net.safetensors")
    assert loaded_arch == arch
    assert evaluator.score(loaded, arch.r) == accuracy


def test_weight_files(tmp_path: Path) -> None:
    net = fresh()
    for name in ("a", "b"):
        save_weights(tmp_path / f"{name}.safetensors", net, describe(net, full_part(SPACE)))
    path = tmp_path / "a.safetensors"
    assert files.md5(path) == files.md5(tmp_path / "b.safetensors")
    other = fresh(1)
    load_weights(path, other)
    assert state_bytes(other) == state_bytes(net)
    assert space_of(read_description(path)["space"]).genes == full_part(SPACE).genes
    with pytest.raises(ValueError, match="does not fit the network"):
        load_weights(path, build_supernet(get_space("ofa_small_k7", 1.0), 10))
    with pytest.raises(ValueError, match="holds a super-network"):
        load_network(path)
    with pytest.raises(ValueError, match="no such file"):
        read_description(tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a weights file"):
        load_weights(path, net)


def test_moving_average() -> None:
    net = fresh()
    average = MovingAverage(net, 0.5)
    name = "parts.classifier.bias"
    before = net.state_dict()[name].clone()
    with torch.no_grad():
        net.get_parameter(name).add_(1)
    average.update(net, 0)  # the first weight of the past is 1 / 10
    torch.testing.assert_close(average.state[name], before + 0.9)
    average.update(net, 1000)
    average.copy_to(net)
    torch.testing.assert_close(net.state_dict()[name], before + 0.95)


def test_bfloat16_learns(dataset: Path, tmp_path: Path) -> None:
    shared = replace(SHARED, precision="bfloat16")
    net = fresh()
    history = train_supernet(
        net, Images(dataset, "train"), tmp_path, schedule=replace(SCHEDULE, epochs=4), shared=shared, machine=RARELY
    ).history
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert {value.dtype for value in net.parameters()} == {torch.float32}


def test_rows_are_means_of_the_steps_since_the_last(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for steps in (1, 4):
        monkeypatch.setattr(loop, "HISTORY_STEPS", steps)
        found[steps] = train_supernet(fresh(), Images(dataset, "train"), tmp_path / str(steps), machine=RARELY).history
    each = [row["loss"] for row in found[1]]
    assert [row["loss"] for row in found[4]] == pytest.approx([np.mean(each[:4]), np.mean(each[4:8]), np.mean(each[8:])])
    assert [(row["step"], row["epoch"]) for row in found[4]] == [(4, 0.4), (8, 0.8), (10, 1.0)]
    write_history(tmp_path / "history.csv", found[4], COLUMNS)
    written = pd.read_csv(tmp_path / "history.csv")
    assert list(written) == ["step", "epoch", "lr", "loss"]
    assert written["loss"].tolist() == pytest.approx([row["loss"] for row in found[4]], rel=1e-5)


def test_reported_are_the_largest_and_the_lowest_sub_network(dataset: Path) -> None:
    net, evaluator = fresh(), Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)
    archs = at_extremes(corners(SPACE), SPACE.resolutions)
    scores = {name: evaluator.subnet_score(net, arch) for name, arch in archs.items()}
    assert len(set(scores.values())) > 2
    progress = Progress(step=7, history=[{"step": 5, "loss": 3.0}, {"step": 7, "loss": 2.0}], seconds=1800.0)
    found = supernet_metrics(net, evaluator, archs, progress, Group(0, 4, torch.device("cpu")))
    assert found == {
        "top1": scores["largest_r24"], "lowest_top1": min(scores.values()), "loss": 2.0, "split": "val", "subnets_top1": scores,
        "steps": 7, "cpu_core_hours": 2.0 * torch.get_num_threads(),
    }  # fmt: skip
    assert cost(1800.0, Group(0, 4, torch.device("cuda"))) == {"gpu_hours": 2.0}


def test_a_line_an_epoch(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = replace(SCHEDULE, epochs=1.5)
    history = train_supernet(fresh(), Images(dataset, "train"), tmp_path, schedule=schedule, machine=RARELY).history
    lines = [line for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert [line.partition(", loss")[0] for line in lines] == [
        "demo: epoch 1, step 10 of 15",
        "demo: 1.5 epochs, step 15 of 15",
    ]
    assert [line.partition(", loss ")[2] for line in lines] == [f"{row['loss']:.4f}" for row in history]


def test_tensorboard(tmp_path: Path) -> None:
    if find_spec("tensorboard") is None:
        with pytest.raises(ValueError, match=r"machine\.tensorboard: true: TensorBoard is not installed here"):
            Live("demo", True, tmp_path)
        return
    live = Live("demo", True, tmp_path)
    live.show(Progress(step=20, history=[{"step": 20, "epoch": 0.2, "lr": 0.1, "loss": 1.5}]), 100, 100)
    live.writer.close()
    [events] = (tmp_path / "demo").iterdir()
    assert b"loss" in events.read_bytes()
