"""Search with the official Note 10 latency tables and a predictor of measured accuracies. Also against brute force."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ofa_core.latency.table import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.features import present_genes
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.runtime.timing import Timing
from ofa_core.search import search
from ofa_core.search.additive_cost import AdditiveCost
from ofa_core.search.budget import cost_range
from ofa_core.search.engine import random_search
from ofa_core.search.params import SearchParams, TargetParams
from ofa_core.search.problem import Problem
from ofa_core.search.slopes import SAMPLES, linear_slopes
from ofa_core.search.targets import search_targets
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layer_sums import distinct_layers
from ofa_core.space.layers import Layer
from ofa_core.space.registry import get_space
from tests.conftest import arch_of, shared_data


@pytest.fixture(scope="module")
def space() -> Space:
    return get_space("ofa_mbv3", 1.2, (160, 192, 224))


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return LatencyTable.load(shared_data("ofa/note10"))


@pytest.fixture(scope="module")
def predictor(space: Space) -> AccuracyPredictor:
    """Fitted to 300 sub-networks measured on ImageNet at width 1.0."""
    rows = pd.read_csv(shared_data("ofa/ofa_mbv3_w1.0_imagenet_top1.csv")).head(300)
    archs = [arch_of(row) for _, row in rows.iterrows()]
    return AccuracyPredictor.fit(space, archs, rows["top1"].to_numpy() / 100)


RESOLUTIONS = (160, 192, 224)
BEST = {15: 0.7880, 18: 0.8014, 20: 0.8079, 25: 0.8222, 30: 0.8319, 35: 0.8379, 40: 0.8423}
"""Best known top-1 by the official predictor, for each budget in milliseconds on a Note 10."""


@pytest.fixture(scope="module")
def official() -> OfficialPredictor:
    predictor = AccuracyPredictor.load(shared_data("ofa/acc_predictor.pth"))
    assert isinstance(predictor, OfficialPredictor)
    return predictor


@pytest.mark.parametrize("budget", BEST)
def test_near_the_best_known(space: Space, table: LatencyTable, official: OfficialPredictor, budget: int) -> None:
    found = [search(space, official, table, budget_ms=float(budget), seed=s, resolutions=RESOLUTIONS) for s in (0, 1)]
    for one in found:
        assert one.latency_ms is not None
        assert one.latency_ms <= budget
        assert one.latency_ms == pytest.approx(table.predict(space, one.arch))
        assert one.accuracy == pytest.approx(official.predict([one.arch])[0], abs=1e-6)
        assert one.accuracy > BEST[budget] - (0.003 if budget in (30, 35) else 0.002)
        assert one.evaluations < 35_000
    chance = random_search(space, official, table, budget_ms=budget, evaluations=found[0].evaluations, resolutions=RESOLUTIONS)
    assert chance.accuracy < found[0].accuracy - 0.005


@pytest.mark.parametrize(("budget", "seed"), [(30, 0), (35, 1)])
def test_high_effort_finds_narrow_basins(
    space: Space, table: LatencyTable, official: OfficialPredictor, budget: int, seed: int
) -> None:
    found = search(space, official, table, budget_ms=float(budget), seed=seed, resolutions=RESOLUTIONS, effort="high")
    assert found.latency_ms is not None
    assert found.latency_ms <= budget
    assert found.accuracy > BEST[budget] - 0.0005
    assert found.evaluations < 360_000


def test_equal_seeds_give_equal_results(space: Space, table: LatencyTable, official: OfficialPredictor) -> None:
    a, b = (search(space, official, table, budget_ms=22.0, seed=3) for _ in range(2))
    assert (a.arch, a.accuracy, a.evaluations) == (b.arch, b.accuracy, b.evaluations)


def test_predictor_without_slopes(space: Space, table: LatencyTable, predictor: AccuracyPredictor) -> None:
    """A Gaussian process, searched with the slopes of an additive fit: for the mean and for its lower bound."""
    found = search(space, predictor, table, budget_ms=22.0)
    chance = random_search(space, predictor, table, budget_ms=22.0, evaluations=found.evaluations)
    assert found.accuracy > chance.accuracy
    careful = search(space, predictor, table, budget_ms=22.0, deviations=1.0)
    [low], [high] = predictor.interval([careful.arch], 0.683)
    assert careful.objective == pytest.approx(careful.accuracy - (high - low) / 2)


def test_impossible_budgets_end_at_once(space: Space, table: LatencyTable, official: OfficialPredictor) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=r"budget_ms: 0\.001 cannot be met; reachable are \d+\.\d+ to \d+\.\d+ ms"):
        search(space, official, table, budget_ms=0.001)
    with pytest.raises(ValueError, match=r"macs: 1000 cannot be met; reachable are \d+ to \d+ MACs"):
        search(space, official, None, macs=1000)
    assert time.process_time() - started < 1
    with pytest.raises(ValueError, match="exactly one of budget_ms, macs, params"):
        search(space, official, table, budget_ms=20, macs=1e8)
    with pytest.raises(ValueError, match="needs a latency table"):
        search(space, official, None, budget_ms=20)
    with pytest.raises(ValueError, match="effort: 'x' is not one of"):
        search(space, official, table, budget_ms=20, effort="x")
    with pytest.raises(KeyError, match="176"):
        search(space, official, table, budget_ms=20, resolutions=(176,))


def test_tightest_budget_finds_the_fastest(space: Space, table: LatencyTable, official: OfficialPredictor) -> None:
    fastest, slowest = cost_range(space, AdditiveCost.latency(space, table, RESOLUTIONS))
    assert fastest == pytest.approx(table.predict_many(space, [space.smallest(160)])[0], rel=0.05)
    assert slowest >= table.predict(space, space.largest(224)) - 1e-9
    found = search(space, official, table, budget_ms=fastest * (1 + 1e-12))
    assert found.latency_ms == pytest.approx(fastest)
    assert search(space, official, table, budget_ms=slowest).accuracy > found.accuracy


@pytest.mark.parametrize(("name", "limit"), [("ofa_mbv3", 3e8), ("ofa_resnet50", 1.5e9), ("ofa_proxyless", 3e8)])
def test_macs_and_parameters(name: str, limit: float) -> None:
    """All kinds of spaces, with a predictor that rates large networks higher. Costs equal those of the layer list."""
    space = get_space(name, resolutions=(160, 224))
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(40)]
    params = np.array([space.cost(arch).params for arch in archs])
    predictor = AccuracyPredictor.fit(space, archs, 0.5 + 0.4 * (params - params.min()) / np.ptp(params))
    found = search(space, predictor, None, macs=limit)
    assert found.cost == space.cost(found.arch).macs <= limit
    assert found.latency_ms is None
    assert found.accuracy >= random_search(space, predictor, None, macs=limit, evaluations=500).accuracy
    few = search(space, predictor, None, params=7e6 if name != "ofa_resnet50" else 2e7)
    assert few.cost == space.cost(few.arch).params


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_resnet50", "ofa_proxyless", "ofa_small_k7"])
def test_costs_and_changes(name: str) -> None:
    space = get_space(name)
    rng = np.random.default_rng(1)
    archs = [space.sample(rng) for _ in range(20)]
    codes, resolutions = space.encode(archs)
    cost = AdditiveCost.macs(space, space.resolutions)
    assert cost.of_codes(codes, resolutions).tolist() == [space.cost(arch).macs for arch in archs]
    problem = Problem(space, lambda codes, _: np.zeros(len(codes)), cost, np.inf)
    members = problem.members(codes, resolutions, np.zeros(20))
    again = problem.codes(members.options, members.stratum)
    assert cost.of_codes(again, resolutions).tolist() == cost.of_codes(codes, resolutions).tolist()
    extra = problem.extra_costs(members.options, members.stratum)
    unit, option = 3, 1
    changed = members.options.copy()
    changed[:, unit] = option
    difference = problem.cost_of(changed, members.stratum) - problem.cost_of(members.options, members.stratum)
    np.testing.assert_allclose(extra[:, unit, option], difference)


def test_linear_slopes() -> None:
    """Slopes fitted to a function that is linear in the choices of present genes tell what a change is worth."""
    space = get_space("ofa_small_k7", resolutions=(20, 28))
    rng = np.random.default_rng(0)
    worth = rng.random((len(space.genes), 3))
    elastic = np.array([gene.field != "d" for gene in space.genes])

    def objective(codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        values = worth[np.arange(len(worth)), codes] * present_genes(space, codes) * elastic
        return values.sum(1) * resolutions / 28

    problem = Problem(space, objective, AdditiveCost.macs(space, space.resolutions), np.inf)
    slopes = linear_slopes(problem, rng)
    assert problem.evaluations == SAMPLES
    codes = np.array([[len(gene.choices) - 1 for gene in space.genes]])
    for resolution in (20, 28):
        found = slopes(codes, np.array([resolution]))[0]
        assert found.shape == worth.shape
        difference = found[elastic] - found[elastic][:, :1]
        np.testing.assert_allclose(difference, (worth - worth[:, :1])[elastic] * resolution / 28, atol=0.03)


def small_case(**milliseconds: Callable[[Layer], float]) -> tuple[Space, AccuracyPredictor, dict[str, LatencyTable]]:
    """A small space, a predictor that rates large networks higher, and a corrected table for each device."""
    space = get_space("ofa_small_k7", resolutions=(20, 28))
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(60)]
    macs = np.array([space.cost(arch, 10).macs for arch in archs])
    predictor = AccuracyPredictor.fit(space, archs, 0.5 + 0.4 * (macs - macs.min()) / np.ptp(macs))
    layers = distinct_layers(space, space.resolutions, 10)
    tables = {
        device: LatencyTable(
            {"kind": device}, "uint8", space.resolutions, 10, scale=1.25, overhead_ms=0.01, factors={"head": 1.5},
            layers={layer.key: Timing(1, of(layer), 0.0) for layer in layers},
        )
        for device, of in milliseconds.items()
    }  # fmt: skip
    return space, predictor, tables


def search_params(**targets: TargetParams) -> SearchParams:
    return SearchParams(device="host", effort="normal", objective="top1", candidates=20, targets=targets)


def test_targets_and_front() -> None:
    space, predictor, tables = small_case(host=lambda layer: layer.macs / 1e6)
    fractions = {f"at{round(100 * f)}": TargetParams(fraction=f) for f in (0.0, 0.5, 1.0)}
    results, front = search_targets(search_params(**fractions), space, predictor, tables, 0)
    low, middle, high = results.values()
    assert middle["budget_ms"] == pytest.approx((low["budget_ms"] * high["budget_ms"]) ** 0.5)
    assert low["predicted_latency_ms"] < middle["predicted_latency_ms"] <= high["predicted_latency_ms"]
    assert middle["predicted_top1"] >= middle["random_search_top1"]
    assert middle["predicted_top1_low"] <= middle["predicted_top1"] <= middle["predicted_top1_high"]
    assert len(low["candidates"]) >= 1
    assert len({Arch.from_dict(one["arch"]) for one in middle["candidates"]}) == len(middle["candidates"]) == 20
    assert {key: middle[key] for key in middle["candidates"][0]} == middle["candidates"][0]
    expected = [one["predicted_top1"] for one in middle["candidates"]]
    assert expected == sorted(expected, reverse=True)
    for one in middle["candidates"]:
        assert one["predicted_latency_ms"] == pytest.approx(tables["host"].predict(space, Arch.from_dict(one["arch"])))
        assert one["predicted_latency_ms"] <= middle["budget_ms"] * (1 + 1e-9)
    # The front rises, starts at the fastest network, and is nowhere below what the targets found.
    assert (np.diff(front["latency_ms"]) > 0).all()
    assert (np.diff(front["objective"]) > 0).all()
    assert front["latency_ms"][0] == pytest.approx(low["predicted_latency_ms"])
    within = front[front["latency_ms"] <= middle["budget_ms"]]
    assert within["objective"].max() >= middle["predicted_top1"] - 1e-9
    with pytest.raises(ValueError, match=r"search\.targets\.a: 0\.001 cannot be met; reachable are [\d.]+ to [\d.]+ ms"):
        search_targets(search_params(a=TargetParams(latency_ms=0.001)), space, predictor, tables, 0)


def test_targets_of_several_devices() -> None:
    """Time follows MACs on one device and parameters on the other. Each target keeps its budget."""
    space, predictor, tables = small_case(host=lambda layer: layer.macs / 1e6, phone=lambda layer: 1e-3 + layer.params / 1e4)
    targets = {
        "here": TargetParams(fraction=0.4),
        "phone": TargetParams(fraction=0.4, device="phone"),
        "roomy": TargetParams(fraction=1.0, device="phone"),
    }
    results, front = search_targets(search_params(**targets), space, predictor, tables, 0)
    assert {name: result["device"] for name, result in results.items()} == {"here": "host", "phone": "phone", "roomy": "phone"}
    assert results["phone"]["requested"] == {"fraction": 0.4, "device": "phone"}
    assert results["phone"]["measured_on"] == {"kind": "phone"}
    for result in results.values():
        arch = Arch.from_dict(result["arch"])
        assert result["predicted_latency_ms"] == pytest.approx(tables[result["device"]].predict(space, arch))
        assert result["predicted_latency_ms"] <= result["budget_ms"] * (1 + 1e-9)
    assert results["here"]["arch"] != results["phone"]["arch"]
    assert results["here"]["budget_ms"] != pytest.approx(results["phone"]["budget_ms"])
    assert list(front["device"].unique()) == ["host", "phone"]
    for _, rows in front.groupby("device"):
        assert rows["latency_ms"].is_monotonic_increasing
        assert rows["objective"].is_monotonic_increasing
    lacking = {**tables, "phone": replace(tables["phone"], layers=dict(list(tables["phone"].layers.items())[1:]))}
    with pytest.raises(ValueError, match=r"build_latency_table\.devices\.phone: .*not in the latency table"):
        search_targets(search_params(**targets), space, predictor, lacking, 0)
