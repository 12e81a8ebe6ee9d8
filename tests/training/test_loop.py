"""Training on real images: schedule, streams, phases, repeatability, resuming, evaluation and files."""

import itertools
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.nn import build_supernet
from ofa_core.nn.official import load_official
from ofa_core.nn.weights import describe, load_network, load_weights, read_description, save_network, save_weights, transfer
from ofa_core.run import files
from ofa_core.space.registry import get_space
from ofa_core.specialize.fine_tuning import fine_tune, saved_score
from ofa_core.specialize.params import SpecializeParams
from ofa_core.training import loop
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import ALONE
from ofa_core.training.ema import MovingAverage
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images, TrainStream
from ofa_core.training.loop import Schedule, Teacher
from ofa_core.training.metrics import at_extremes, cost
from ofa_core.training.monitor import Live
from ofa_core.training.shrinking import full_choices, phase_choices, phase_corners, phase_sampler, sort_for_phase
from tests.conftest import shared_data
from tests.small_training import PHASE, RARELY, SCHEDULE, SHARED, SPACE, fresh, state_bytes, train_supernet


def test_schedule() -> None:
    schedule = Schedule(epochs=2, warmup_epochs=0.5, lr=0.4)
    rates = [schedule.rate(step, 10) for step in range(schedule.steps(10))]
    assert len(rates) == 20
    assert rates[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert rates[5] == pytest.approx(0.4)
    assert all(a > b for a, b in itertools.pairwise(rates[5:]))
    assert 0 < rates[-1] < 0.01


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
    sample, rng = phase_sampler(SPACE, PHASE), np.random.default_rng(0)
    archs = [arch for _ in range(40) for arch in sample(rng, 24)]
    assert {k for arch in archs for k in arch.ks or ()} == {3, 7}
    assert {e for arch in archs for e in arch.e} == {4, 6}
    assert {d for arch in archs for d in arch.d} == {2, 4}
    assert {arch.r for arch in archs} == {24}
    corners = phase_corners(SPACE, PHASE)
    assert (corners["smallest"].ks, corners["largest"].d) == ((3,) * 12, (4,) * 3)
    assert list(at_extremes(corners, (20, 24))) == ["smallest_r20", "smallest_r24", "largest_r20", "largest_r24"]
    assert full_choices(SPACE) == {"kernel_sizes": [7], "expand_ratios": [6], "depths": [4]}


def test_training_repeats_and_resumes(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that is killed after any step and restarted ends with exactly the weights of an uninterrupted run."""
    monkeypatch.setattr(loop, "HISTORY_STEPS", 3)
    images = Images(dataset, "train")
    teacher = Teacher(net=fresh(9).extract(SPACE.largest()).eval(), weight=1.0)
    schedule, averaged = Schedule(epochs=1, warmup_epochs=0.2, lr=0.1), replace(SHARED, ema_decay=0.9)

    def run(work: Path) -> tuple[bytes, list[dict[str, float]]]:
        net = fresh()
        progress = train_supernet(net, images, work, phase_sampler(SPACE, PHASE), schedule, averaged, seed=5, teacher=teacher)
        return state_bytes(net), progress.history

    expected, history = run(tmp_path / "a")
    assert [row["step"] for row in history] == [3, 6, 9, 10]
    assert history[-1]["loss"] < history[0]["loss"]

    calls = itertools.count()
    step = loop._accumulate

    def killed(*args: object) -> float:
        if next(calls) == 8:
            raise KeyboardInterrupt
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_accumulate", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b")
    assert (tmp_path / "b/checkpoint.pt").is_file()
    again, rows = run(tmp_path / "b")
    assert next(calls) == 8 + 1 + 2  # steps 8 and 9 only
    assert (again, rows) == (expected, history)


def test_sandwich_with_in_place_distillation(dataset: Path, tmp_path: Path) -> None:
    phase = replace(PHASE, sampling="sandwich", teacher="in_place", subnets=3)
    sample = phase_sampler(SPACE, phase)
    archs = sample(np.random.default_rng(0), 20)
    corners = phase_corners(SPACE, phase)
    assert [replace(arch, r=24) for arch in archs[:2]] == [corners["largest"], corners["smallest"]]
    assert len(archs) == 3
    schedule, teacher = Schedule(epochs=4, warmup_epochs=0, lr=0.1), Teacher(net=None, weight=1.0)
    images = Images(dataset, "train")
    history = train_supernet(fresh(), images, tmp_path, sample, schedule, teacher=teacher).history
    assert history[-1]["loss"] < history[0]["loss"]


def test_transfer_keeps_all_but_a_foreign_classifier(tmp_path: Path) -> None:
    source = fresh(1)
    save_weights(tmp_path / "ten.safetensors", source, describe(source, full_choices(SPACE)))
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
        transfer(tmp_path / "ten.safetensors", build_supernet(get_space("ofa_small", 1.0), 10))


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
    net = fresh().eval()
    x, _ = Images(dataset, "val").batches(24, 64)[0]
    with torch.no_grad():
        before = net(x)
        sort_for_phase(net, PHASE, [6])
        torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-5)
        sorted_state = state_bytes(net)
        sort_for_phase(net, PHASE, phase_choices(PHASE)["expand_ratios"])  # no narrower width, so nothing moves
    assert state_bytes(net) == sorted_state


def test_specialised_network_is_the_sub_network(dataset: Path, tmp_path: Path) -> None:
    train_images, val = Images(dataset, "train"), Images(dataset, "val")
    net = fresh()
    train_supernet(net, train_images, tmp_path)
    evaluator = Evaluator(train_images, val, 64, seed=0)
    arch = SPACE.sample(np.random.default_rng(3))
    accuracy = evaluator.subnet_score(net, arch)
    save_network(tmp_path / "net.safetensors", net.extract(arch), arch, describe(net, full_choices(SPACE)))
    assert saved_score(tmp_path / "net.safetensors", dataset, "val", 1) == accuracy
    loaded, loaded_arch = load_network(tmp_path / "net.safetensors")
    assert loaded_arch == arch
    assert evaluator.score(loaded, arch.r) == accuracy


def test_weight_files(tmp_path: Path) -> None:
    net = fresh()
    for name in ("a", "b"):
        save_weights(tmp_path / f"{name}.safetensors", net, describe(net, full_choices(SPACE)))
    path = tmp_path / "a.safetensors"
    assert files.md5(path) == files.md5(tmp_path / "b.safetensors")
    other = fresh(1)
    load_weights(path, other)
    assert state_bytes(other) == state_bytes(net)
    assert read_description(path)["supports"]["kernel_sizes"] == [7]
    with pytest.raises(ValueError, match="does not fit the network"):
        load_weights(path, build_supernet(get_space("ofa_small", 1.0), 10))
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


def test_fine_tuning_improves_a_sub_network(dataset: Path, tmp_path: Path) -> None:
    """A sub-network of a barely trained super-network learns the train images when it trains alone."""
    images, net, arch = Images(dataset, "train"), fresh(), SPACE.smallest(20)
    full = net.extract(SPACE.largest()).eval()
    alone = net.extract(arch)
    others = state_bytes(net)
    params = SpecializeParams(
        max_top1_change=0.001,
        epochs=10,
        warmup_epochs=0,
        lr=0.05,
        distill_weight=0.0,
        quantization="post",
        delay=0.0,
        ranges="learned",
    )
    progress = fine_tune(
        alone,
        arch.r,
        images,
        full,
        params,
        SHARED,
        RARELY,
        phase="x",
        seed=0,
        work=tmp_path,
        group=ALONE,
    )
    assert progress.history[-1]["loss"] < 0.8 * progress.history[0]["loss"]
    assert 0 < progress.seconds < 600
    assert cost(3600.0, ALONE) == {"cpu_core_hours": torch.get_num_threads()}
    assert state_bytes(net) == others


def test_a_line_an_epoch(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = replace(SCHEDULE, epochs=1.5)
    train_supernet(fresh(), Images(dataset, "train"), tmp_path, schedule=schedule, machine=RARELY)
    lines = [line for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert [line.partition(", loss")[0] for line in lines] == [
        "demo: epoch 1, step 10 of 15",
        "demo: 1.5 epochs, step 15 of 15",
    ]


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
