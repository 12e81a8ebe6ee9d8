"""Stock networks, networks trained one by one, and their comparison in the stage compare."""

from pathlib import Path

import pytest
import torch

from ofa_core.baselines import training as baselines
from ofa_core.baselines.params import StockParams, SubnetParams, TrainBaselinesParams
from ofa_core.baselines.training import baseline_layers, train_baselines
from ofa_core.nn.network import Network
from ofa_core.nn.weights import load_layers, load_network, save_layers
from ofa_core.report.comparison import pareto, shrinking, training_cost, uniform_archs
from ofa_core.report.plots import plot_cost, plot_pareto, plot_shrinking
from ofa_core.run import files
from ofa_core.space.registry import get_space
from ofa_core.space.stock import STOCK, stock_layers
from ofa_core.training.distributed import ALONE
from ofa_core.training.evaluation import Evaluator
from ofa_core.training.images import Images
from tests.networks import ELASTIC
from tests.small_training import MACHINE, SHARED, SPACE, fresh


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


PARAMS = TrainBaselinesParams(
    epochs=1, warmup_epochs=0, lr=0.05,
    networks={"stock": StockParams(family="mobilenet_v3_small", width_mult=0.25, total_stride=8, resolution=20)},
    subnets={"alone": SubnetParams(kernel_size=3, depth=2, expand_ratio=3, resolution=24)},
)  # fmt: skip


def test_baselines_are_trained_once(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage killed after the first network does not train it again."""
    evaluator = Evaluator(Images(dataset, "train"), Images(dataset, "val"), 64, seed=0)
    networks = baseline_layers(PARAMS, SPACE, 10)
    assert networks["alone"] == SPACE.layers(SPACE.smallest(24), 10)
    (tmp_path / "work").mkdir()
    real, trained = baselines.train, []

    def counted(*args: object, **more: object) -> object:
        if trained == ["stock"] and more["phase"] == "alone":
            trained.append("killed")
            raise KeyboardInterrupt
        trained.append(str(more["phase"]))
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(baselines, "train", counted)

    def run() -> dict[str, dict[str, float]]:
        return train_baselines(
            networks, evaluator, PARAMS, SHARED, MACHINE, tmp_path, seed=0, work=tmp_path / "work", group=ALONE
        )

    with pytest.raises(KeyboardInterrupt):
        run()
    metrics = run()
    assert trained == ["stock", "killed", "alone"]
    for name, layers in networks.items():
        net = load_layers(tmp_path / f"{name}.safetensors")
        assert net.active == layers
        assert evaluator.score(net, layers[0].resolution) == metrics[name]["top1"]
        assert metrics[name]["cpu_core_hours"] > 0
        assert metrics[name]["params"] == sum(layer.params for layer in layers)


def test_files_of_layers_and_of_spaces_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_layers(path, Network(SPACE.layers(SPACE.smallest(20), 10)))
    with pytest.raises(ValueError, match="holds a super-network, not a stand-alone network"):
        load_network(path)
    save_layers(path, Network(SPACE.layers(SPACE.smallest(20), 10)))
    assert load_layers(path).active == SPACE.layers(SPACE.smallest(20), 10)


def test_wrong_sub_networks_are_named() -> None:
    for wrong, message in (
        (SubnetParams(kernel_size=4, depth=2, expand_ratio=3, resolution=24), "kernel_size: 4: allowed are 3, 5, 7"),
        (SubnetParams(kernel_size=3, depth=2, expand_ratio=3, resolution=32), "resolution: 32: allowed are 20, 24"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong.arch(SPACE)
    with pytest.raises(ValueError, match=r"subnets.a: a network has this name already"):
        TrainBaselinesParams(
            epochs=1, warmup_epochs=0, lr=0.1,
            networks={"a": PARAMS.networks["stock"]}, subnets={"a": PARAMS.subnets["alone"]},
        )  # fmt: skip


def test_tables_and_plots(dataset: Path, tmp_path: Path) -> None:
    measured = {"latency_ms": 0.2, "top1": 0.9, "float_latency_ms": 0.3, "float_top1": 0.91}
    points = pareto({"fast": measured}, {"v2": measured | {"latency_ms": 0.1}}, {"v2": "mobilenet_v2"})
    assert list(points["family"]) == ["mobilenet_v2", "searched"]

    archs = uniform_archs(SPACE)
    assert list(archs.values())[::2] == [SPACE.smallest(24), SPACE.largest(24)]
    on_test, on_val = (Evaluator(Images(dataset, "train"), Images(dataset, split), 64, seed=0) for split in ("test", "val"))
    shrunk = fresh(1)
    on_val.subnet_score(shrunk, archs["middle"])
    worth = shrinking(fresh(0), shrunk, archs, {"middle": shrunk.extract(archs["middle"]).eval()}, on_test, on_val)
    assert list(worth["name"]) == ["smallest", "middle", "largest"]
    assert worth["alone"].notna().tolist() == [False, True, False]
    for suffix, split in (("", "test"), ("_val", "val")):
        assert worth[f"alone{suffix}"][1] == worth[f"shrunk{suffix}"][1]  # the same network, here
        right = worth[f"cut{suffix}"] * len(Images(dataset, split))
        assert right.tolist() == pytest.approx(right.round().tolist())

    stages = [{"cpu_core_hours": 2.0}, {"cpu_core_hours": 1.0}]
    hours = training_cost(stages, [{"cpu_core_hours": 0.5}], [{"cpu_core_hours": 1.0}, {"cpu_core_hours": 2.0}])
    assert hours[hours["targets"] == 4].iloc[0][["once_for_all", "each_alone"]].tolist() == [3 + 4 * 0.5, 4 * 1.5]
    assert "each_alone" not in training_cost(stages, [], [])
    assert training_cost([{"gpu_hours": 2.0}], [], [])["unit"].iloc[0] == "gpu_hours"

    for name, plot, table in (("p", plot_pareto, points), ("s", plot_shrinking, worth), ("c", plot_cost, hours)):
        paths = [tmp_path / f"{name}{i}.svg" for i in range(2)]
        for path in paths:
            plot(path, table)
        assert files.md5(paths[0]) == files.md5(paths[1])
        assert b"<svg" in paths[0].read_bytes()


def test_a_subnet_takes_the_nearest_choice_of_each_block() -> None:
    arch = SubnetParams(kernel_size=5, depth=4, expand_ratio=6, resolution=28).arch(get_space("ofa_small"))
    assert (set(arch.ks or ()), arch.d, arch.e[0], arch.e[-1], arch.w) == ({5}, (3, 4, 4), 4, 6, None)
    with pytest.raises(ValueError, match=r"^expand_ratio: 5: allowed are 2, 3, 4, 6$"):
        SubnetParams(kernel_size=5, depth=4, expand_ratio=5, resolution=28).arch(get_space("ofa_small"))
    wide = SubnetParams(kernel_size=3, depth=3, expand_ratio=3, resolution=16).arch(ELASTIC.space("wide"))
    assert (wide.e, wide.w) == ((1, 1, 3, 3, 3), (16, 16, 24, 24, 32, 48))
