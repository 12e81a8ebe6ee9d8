"""Training on real images: schedule, streams, phases, repeatability, resuming, evaluation, files."""

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core import files
from ofa_core.data import fashion_mnist
from ofa_core.data.packed import pack
from ofa_core.nn import build_supernet
from ofa_core.nn.network import SuperNetwork
from ofa_core.spaces import get_space
from ofa_core.training import loop
from ofa_core.training.checkpoint import Progress, save_checkpoint
from ofa_core.training.collect import collect, sample_archs
from ofa_core.training.evaluation import Evaluator, top1
from ofa_core.training.images import Images, TrainStream, augment
from ofa_core.training.loop import Schedule, Teacher, train
from ofa_core.training.params import PhaseParams, TrainingParams
from ofa_core.training.report import at_extremes
from ofa_core.training.shrinking import full_choices, full_sampler, phase_choices, phase_corners, phase_sampler, sort_for_phase
from ofa_core.training.specialize import saved_top1
from ofa_core.training.weights import (
    describe,
    load_network,
    load_weights,
    read_description,
    save_network,
    save_weights,
    transfer,
)
from ofa_core.zoo import load_official
from tests.conftest import shared_data

SPACE = get_space("ofa_small", 0.5, (20, 24))
SHARED = TrainingParams(
    batch_size=32, momentum=0.9, weight_decay=3e-5, label_smoothing=0.1, dropout=0.1, max_shift=0.08, flip=True, bn_images=64,
    threads=1, checkpoint_seconds=1e-6, spike_factor=5.0, max_rollbacks=2,
)  # fmt: skip
PHASE = PhaseParams(
    init="full", kernel_sizes=(3, 7), depths=(2, 4), expand_ratios=(4, 6), sampling="random", teacher="full", subnets=2,
    epochs=1, warmup_epochs=0, lr=0.05,
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred images of Fashion-MNIST, packed."""
    folder = tmp_path_factory.mktemp("data")
    try:
        raw = fashion_mnist.load(folder / "raw")
    except ValueError as error:
        pytest.skip(f"Fashion-MNIST is not to be had: {error}")
    images, labels = raw.train_images[:640], raw.train_labels[:640]
    parts = {"train": slice(0, 320), "val": slice(320, 480), "test": slice(480, 640)}
    pack(folder / "data.npz", {name: (images[part], labels[part]) for name, part in parts.items()}, fashion_mnist.CLASSES)
    return folder / "data.npz"


def fresh(seed: int = 0) -> SuperNetwork:
    torch.manual_seed(seed)
    return build_supernet(SPACE, 10, dropout=0.1)


def state_bytes(net: SuperNetwork) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())


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
    # A step's images follow from its number alone.
    assert (TrainStream(images, 32, [0, 1]).indices(13) == stream.indices(13)).all()
    with pytest.raises(ValueError, match=r"batch_size: 400 is more than the 320"):
        TrainStream(images, 400, [0])


def test_augmentation_moves_and_mirrors_whole_images(dataset: Path) -> None:
    images = Images(dataset, "train").at(20)[:64]
    rng = np.random.default_rng(0)
    same = augment(images, rng, 0.0, False)
    assert (same == images).all()
    mirrored = (augment(images, rng, 0.0, True) == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 16 < mirrored.sum() < 48
    moved = augment(images, np.random.default_rng(0), 0.1, False)
    shifts = np.random.default_rng(0).integers(-2, 3, size=(2, 64, 1))[:, :, 0]
    for image, out, (down, right) in zip(images, moved, shifts.T, strict=True):
        rows, columns = (np.clip(np.arange(20) + shift, 0, 19) for shift in (down, right))
        assert (out == image[rows][:, columns]).all()


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
    """Killed after any step and started again, training ends with the very weights of an uninterrupted run."""
    monkeypatch.setattr(loop, "HISTORY_STEPS", 3)
    images = Images(dataset, "train")
    teacher = Teacher(net=fresh(9).extract(SPACE.largest()).eval(), weight=1.0)
    schedule = Schedule(epochs=1, warmup_epochs=0.2, lr=0.1)

    def run(work: Path) -> tuple[bytes, list[dict[str, float]]]:
        work.mkdir(exist_ok=True)
        net = fresh()
        sample = phase_sampler(SPACE, PHASE)
        history = train(net, images, sample, schedule, SHARED, phase="demo", seed=5, work=work, teacher=teacher)
        return state_bytes(net), history

    expected, history = run(tmp_path / "a")
    assert [row["step"] for row in history] == [3, 6, 9, 10]
    assert history[-1]["loss"] < history[0]["loss"]

    calls = itertools.count()
    step = loop._step

    def killed(*args: object) -> float:
        if next(calls) == 8:
            raise KeyboardInterrupt
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b")
    assert (tmp_path / "b/checkpoint.pt").is_file()
    again, rows = run(tmp_path / "b")
    assert next(calls) == 8 + 1 + 2  # steps 8 and 9 only
    assert (again, rows) == (expected, history)


def test_astray_losses_roll_back_and_then_stop(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An injected NaN takes training to the last checkpoint at half the rate; too many end it, with a checkpoint left."""
    images, schedule = Images(dataset, "train"), Schedule(epochs=1, warmup_epochs=0, lr=0.1)
    step, calls = loop._step, itertools.count()

    def poisoned(bad: set[int]) -> None:
        def run(*args: object) -> float:
            loss = step(*args)  # type: ignore[arg-type]
            return float("nan") if next(calls) in bad else loss

        monkeypatch.setattr(loop, "_step", run)

    def run(work: Path) -> list[dict[str, float]]:
        return train(fresh(), images, full_sampler(SPACE), schedule, SHARED, phase="demo", seed=0, work=work)

    poisoned({4})
    (tmp_path / "a").mkdir()
    history = run(tmp_path / "a")
    assert history[-1]["step"] == 10
    assert next(calls) == 10 + 1
    assert history[-1]["lr"] == pytest.approx(schedule.rate(9, 10) / 2)
    poisoned(set(range(1000)))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="demo: the loss is nan at step 0, after 2 rollbacks"):
        run(tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["checkpoint.pt"]


def test_sudden_losses_roll_back(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HISTORY_STEPS", 2)
    step, calls = loop._step, itertools.count()
    monkeypatch.setattr(loop, "_step", lambda *args: step(*args) * (20 if next(calls) == 6 else 1))
    schedule = Schedule(epochs=1, warmup_epochs=0, lr=0.1)
    history = train(
        fresh(), Images(dataset, "train"), full_sampler(SPACE), schedule, SHARED, phase="demo", seed=0, work=tmp_path
    )
    assert next(calls) == 10 + 1
    assert max(row["loss"] for row in history) < 10


def test_termination_checkpoints_first(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, schedule = Images(dataset, "train"), Schedule(epochs=1, warmup_epochs=0, lr=0.1)
    rare = replace(SHARED, checkpoint_seconds=1000.0)
    expected_net = fresh()
    (tmp_path / "whole").mkdir()
    train(expected_net, images, full_sampler(SPACE), schedule, rare, phase="demo", seed=0, work=tmp_path / "whole")

    step, calls = loop._step, itertools.count()

    def terminated(*args: object) -> float:
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_step", terminated)
    with pytest.raises(SystemExit, match="demo: terminated at step 6 of 10"):
        train(fresh(), images, full_sampler(SPACE), schedule, rare, phase="demo", seed=0, work=tmp_path)
    net = fresh()
    train(net, images, full_sampler(SPACE), schedule, rare, phase="demo", seed=0, work=tmp_path)
    assert next(calls) == 10
    assert state_bytes(net) == state_bytes(expected_net)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_full_disk_keeps_the_last_checkpoint(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = fresh()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    save_checkpoint(tmp_path, net, optimizer, Progress(step=3))
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, net, optimizer, Progress(step=4))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_sandwich_with_in_place_distillation(dataset: Path, tmp_path: Path) -> None:
    phase = replace(PHASE, sampling="sandwich", teacher="in_place", subnets=3)
    sample = phase_sampler(SPACE, phase)
    archs = sample(np.random.default_rng(0), 20)
    corners = phase_corners(SPACE, phase)
    assert [replace(arch, r=24) for arch in archs[:2]] == [corners["largest"], corners["smallest"]]
    assert len(archs) == 3
    schedule, teacher = Schedule(epochs=4, warmup_epochs=0, lr=0.1), Teacher(net=None, weight=1.0)
    images = Images(dataset, "train")
    history = train(fresh(), images, sample, schedule, SHARED, phase="demo", seed=0, work=tmp_path, teacher=teacher)
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
        sort_for_phase(net, PHASE, phase_choices(PHASE)["expand_ratios"])  # nothing new: nothing moves
    assert state_bytes(net) == sorted_state


def test_specialised_network_is_the_sub_network(dataset: Path, tmp_path: Path) -> None:
    train_images, val = Images(dataset, "train"), Images(dataset, "val")
    net = fresh()
    schedule = Schedule(epochs=1, warmup_epochs=0, lr=0.1)
    train(net, train_images, full_sampler(SPACE), schedule, SHARED, phase="demo", seed=0, work=tmp_path)
    evaluator = Evaluator(train_images, val, 64, seed=0)
    arch = SPACE.sample(np.random.default_rng(3))
    accuracy = evaluator.top1(net, arch)
    save_network(tmp_path / "net.safetensors", net.extract(arch), arch, describe(net, full_choices(SPACE)))
    assert saved_top1(tmp_path / "net.safetensors", dataset, "val", 1) == accuracy
    loaded, loaded_arch = load_network(tmp_path / "net.safetensors")
    assert loaded_arch == arch
    assert top1(loaded, evaluator.val_batches(arch.r)) == accuracy


def test_collected_architectures(dataset: Path) -> None:
    net = fresh()
    archs = sample_archs(net, 20, seed=0)
    assert len(set(archs)) == 20
    assert archs == sample_archs(net, 20, seed=0)
    assert {archs[0], archs[3]} == {SPACE.smallest(20), SPACE.largest(24)}
    evaluator = Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)
    top1s = collect(net, evaluator, archs[:3])
    assert all(0 <= value <= 1 for value in top1s)
    with pytest.raises(ValueError, match="bn_images: 400 is more than the 320"):
        Evaluator(Images(dataset, "train"), Images(dataset, "val"), 400, seed=0)


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
