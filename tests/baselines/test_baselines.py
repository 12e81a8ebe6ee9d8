"""Stock networks, and networks trained one by one with several learning rates."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa_core.baselines import training as baselines
from ofa_core.baselines.params import StockParams, SubnetParams, TrainBaselinesParams
from ofa_core.baselines.training import starts, train_baselines
from ofa_core.nn.network import Network
from ofa_core.nn.weights import load_layers, load_network, save_layers
from ofa_core.space.registry import get_space
from ofa_core.space.stock import STOCK, stock_layers
from ofa_core.training import loop
from ofa_core.training.checkpoint import Progress
from ofa_core.training.distributed import ALONE
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from tests.networks import ELASTIC
from tests.small_training import RARELY, SHARED, SPACE


@pytest.mark.parametrize(
    ("family", "macs", "params"),
    [("mobilenet_v2", 300.8, 3504872), ("mobilenet_v3_large", 216.6, 5483032), ("mobilenet_v3_small", 56.5, 2542856)],
)
def test_stock_networks_have_their_published_size(family: str, macs: float, params: int) -> None:
    """Parameters as in torchvision's models of the same names. MACs as published, rounded to 0.1 million."""
    layers = stock_layers(family, 1.0, 224, 1000)
    assert round(sum(layer.macs for layer in layers) / 1e6, 1) == macs
    assert sum(layer.params for layer in layers) == params
    assert sum(p.numel() for p in Network(layers).parameters()) == params
    assert layers[-3 if family == "mobilenet_v2" else -4].out_resolution == 7


def test_stock_networks_for_small_images() -> None:
    for family in STOCK:
        layers = stock_layers(family, 0.35, 28, 10, total_stride=8)
        assert Network(layers).eval()(torch.zeros(2, 3, 28, 28)).shape == (2, 10)
        assert [layer.resolution for layer in layers if layer.kind == "avgpool"] == [4]
    narrow = stock_layers("mobilenet_v2", 0.35, 96, 1000)
    assert [layer.out for layer in narrow if layer.name == "final_expand"] == [1280]
    with pytest.raises(ValueError, match="family: 'resnet' is not one of mobilenet_v2"):
        stock_layers("resnet", 1.0, 224, 1000)
    with pytest.raises(ValueError, match="total_stride: 7"):
        stock_layers("mobilenet_v2", 1.0, 224, 1000, 7)


NONE = Path("no weights to start from")
PARAMS = TrainBaselinesParams(
    epochs=1, warmup_epochs=0, lrs=(0.02, 0.05), pretrained=False,
    networks={"stock": StockParams(family="mobilenet_v3_small", width_mult=0.25, total_stride=8, resolution=20)},
    subnets={"alone": SubnetParams(kernel_size=3, depth=2, expand_ratio=3, resolution=24)},
)  # fmt: skip


def evaluator_of(dataset: Path) -> Evaluator:
    return Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)


def run(dataset: Path, out: Path, params: TrainBaselinesParams = PARAMS, seed: int = 0) -> dict[str, dict[str, Any]]:
    return train_baselines(
        starts(params, SPACE, 10, NONE, zero=True),
        evaluator_of(dataset), params, SHARED, RARELY, out, seed=seed, work=out / "work", group=ALONE,
    )  # fmt: skip


def spy(monkeypatch: pytest.MonkeyPatch, after: Callable[[str, float, Progress], None]) -> list[tuple[str, float]]:
    """Name and learning rate of each training, in order. after: is called with both and the progress of a finished one."""
    real, trained = baselines.train, list[tuple[str, float]]()

    def spied(*args: Any, **more: Any) -> Progress:
        trained.append((more["phase"], args[4].lr))
        progress = real(*args, **more)
        after(*trained[-1], progress)
        return progress

    monkeypatch.setattr(baselines, "train", spied)
    return trained


def test_the_best_rate_on_val_is_kept_and_nothing_trained_twice(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage killed in the third training repeats that one alone."""
    kills = [("alone", 0.05)]

    def kill(name: str, lr: float, progress: Progress) -> None:
        if (name, lr) in kills:
            kills.remove((name, lr))
            raise KeyboardInterrupt

    trained = spy(monkeypatch, kill)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path)
    metrics = run(dataset, tmp_path)
    assert trained == [("stock", 0.05), ("stock", 0.02), ("alone", 0.05), ("alone", 0.05), ("alone", 0.02)]
    networks = {name: start().active for name, start in starts(PARAMS, SPACE, 10, NONE, zero=True).items()}
    evaluator = evaluator_of(dataset)
    assert PARAMS.families == {"stock": "mobilenet_v3_small", "alone": "alone"}
    assert networks["alone"] == SPACE.layers(SPACE.smallest(24), 10)
    for name, layers in networks.items():
        found = metrics[name]
        assert [attempt["lr"] for attempt in found["sweep"]] == [0.05, 0.02]
        best = max(found["sweep"], key=lambda attempt: attempt["top1"])
        assert {key: found.get(key, 0) for key in best} == best  # rollbacks: none
        net = load_layers(tmp_path / f"{name}.safetensors")
        assert net.active == layers
        assert evaluator.score(net, layers[0].resolution) == found["top1"]
        assert found["cpu_core_hours"] > 0
        assert found["params"] == sum(layer.params for layer in layers)
    assert len({attempt["top1"] for found in metrics.values() for attempt in found["sweep"]}) > 1  # there was a choice


def test_rates_start_from_the_same_weights_and_seeds_from_others(dataset: Path, tmp_path: Path) -> None:
    """A rate's network is the same whatever else is in the sweep."""
    one = replace(PARAMS, networks={}, lrs=(0.02,))
    alone, swept, other = (tmp_path / name for name in ("alone", "swept", "other"))
    run(dataset, alone, one)
    run(dataset, swept, replace(one, lrs=(0.02, 0.05)))
    run(dataset, other, one, seed=1)
    contents = [(folder / "work/alone/lr_0.02/net.safetensors").read_bytes() for folder in (alone, swept, other)]
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(
    ("spikes", "tried", "kept"),
    [
        ({0.05}, [0.05, 0.02], 0.02),
        ({0.02}, [0.05, 0.02, 0.01], None),
        ({0.05, 0.02, 0.01}, [0.05, 0.02, 0.01, 0.005], 0.005),
    ],
)
def test_a_spike_is_trained_again_and_not_kept(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spikes: set[float], tried: list[float], kept: float | None
) -> None:
    """The loss of a rate in `spikes` is not a number at one step, so the loop goes back to its checkpoint."""
    params, real = replace(PARAMS, networks={}), loop._gradients
    seen = set[float]()
    rates = spy(monkeypatch, lambda name, lr, progress: None)

    def spoilt(*args: Any) -> torch.Tensor:
        loss, lr = real(*args), rates[-1][1]
        if lr in spikes - seen:
            seen.add(lr)
            return loss * float("nan")
        return loss

    monkeypatch.setattr(loop, "_gradients", spoilt)
    found = run(dataset, tmp_path, params)["alone"]
    assert [attempt["lr"] for attempt in found["sweep"]] == tried
    assert {attempt["lr"] for attempt in found["sweep"] if attempt["rollbacks"]} == spikes
    assert found["lr"] not in spikes
    assert kept is None or found["lr"] == kept


def test_a_network_that_always_spikes_is_one_line(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spike(name: str, lr: float, progress: Progress) -> None:
        progress.rollbacks = 1

    rates = spy(monkeypatch, spike)
    message = "train_baselines.lrs: alone: the loss spikes with every rate down to 0.0025"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(dataset, tmp_path, replace(PARAMS, networks={}))
    assert [lr for _, lr in rates] == [0.05, 0.02, 0.01, 0.005, 0.0025]
    assert not list(tmp_path.glob("*.safetensors"))


def test_files_of_layers_and_of_spaces_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_layers(path, Network(SPACE.layers(SPACE.smallest(20), 10)))
    with pytest.raises(ValueError, match="holds a super-network, not a stand-alone network"):
        load_network(path)
    save_layers(path, Network(SPACE.layers(SPACE.smallest(20), 10)))
    assert load_layers(path).active == SPACE.layers(SPACE.smallest(20), 10)


def test_rates_are_checked() -> None:
    for lrs in ((0.1, 0.05), (0.1, 0.1)):
        with pytest.raises(ValueError, match=r"lrs: \[0\.1, .*\] is not ascending"):
            replace(PARAMS, lrs=lrs)


def test_wrong_sub_networks_are_named() -> None:
    for wrong, message in (
        (SubnetParams(kernel_size=4, depth=2, expand_ratio=3, resolution=24), "kernel_size: 4: allowed are 3, 5, 7"),
        (SubnetParams(kernel_size=3, depth=2, expand_ratio=3, resolution=32), "resolution: 32: allowed are 20, 24"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong.arch(SPACE)
    with pytest.raises(ValueError, match=r"subnets.a: a network has this name already"):
        TrainBaselinesParams(
            epochs=1, warmup_epochs=0, lrs=(0.1,),
            pretrained=False, networks={"a": PARAMS.networks["stock"]}, subnets={"a": PARAMS.subnets["alone"]},
        )  # fmt: skip


def test_a_subnet_takes_the_nearest_choice_of_each_block() -> None:
    arch = SubnetParams(kernel_size=5, depth=3, expand_ratio=6, resolution=28).arch(get_space("ofa_small"))
    assert (arch.ks[0], arch.ks[-1], arch.d, arch.e[0], arch.e[-1], arch.w) == (3, 5, (2, 3, 3), 4, 6, None)
    with pytest.raises(ValueError, match=r"^expand_ratio: 5: allowed are 2, 3, 4, 6$"):
        SubnetParams(kernel_size=5, depth=3, expand_ratio=5, resolution=28).arch(get_space("ofa_small"))
    wide = SubnetParams(kernel_size=3, depth=3, expand_ratio=3, resolution=16).arch(ELASTIC.space("wide"))
    assert (wide.e, wide.w) == ((1, 1, 3, 3, 3), (16, 16, 24, 24, 32, 48))
