"""Search with the official Note 10 latency tables and a predictor of measured accuracies; and against brute force."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from ofa_core.costs import LayerSum
from ofa_core.latency.table import LatencyTable, Timing
from ofa_core.measure.files import distinct_layers
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.search import search
from ofa_core.search.budget import extreme, latency_range, single_changes
from ofa_core.search.evolution import random_search
from ofa_core.search.params import SearchParams, TargetParams
from ofa_core.search.targets import search_target
from ofa_core.space import Space
from ofa_core.spaces import get_space
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


def test_budget_is_kept_and_chance_is_beaten(space: Space, table: LatencyTable, predictor: AccuracyPredictor) -> None:
    best = 0.0
    for budget in (18.0, 25.0, 35.0):
        found = search(space, predictor, table, budget_ms=budget, seed=1, generations=40)
        assert found.latency_ms <= budget
        assert found.latency_ms == pytest.approx(table.predict(space, found.arch))
        assert found.accuracy == pytest.approx(predictor.predict([found.arch])[0])
        chance = random_search(space, predictor, table, budget_ms=budget, evaluations=found.evaluations, seed=1)
        assert found.accuracy > chance.accuracy
        assert found.accuracy > best
        best = found.accuracy


def test_equal_seeds_give_equal_results(space: Space, table: LatencyTable, predictor: AccuracyPredictor) -> None:
    a, b = (search(space, predictor, table, budget_ms=22.0, seed=3, generations=10) for _ in range(2))
    assert (a.arch, a.accuracy, a.evaluations) == (b.arch, b.accuracy, b.evaluations)


def test_impossible_budget_ends_at_once(space: Space, table: LatencyTable, predictor: AccuracyPredictor) -> None:
    with pytest.raises(ValueError, match=r"budget_ms: 0\.001 cannot be met; reachable are \d+\.\d+ to \d+\.\d+ ms"):
        search(space, predictor, table, budget_ms=0.001)


def test_tightest_budget_finds_the_fastest(space: Space, table: LatencyTable, predictor: AccuracyPredictor) -> None:
    fastest, slowest = latency_range(space, lambda codes, r: table.predict_codes(space, codes, r), space.resolutions)
    found = search(space, predictor, table, budget_ms=fastest, seed=0, generations=5)
    assert found.latency_ms == pytest.approx(fastest)
    assert search(space, predictor, table, budget_ms=slowest, seed=0, generations=5).accuracy > found.accuracy


def test_extremes_equal_brute_force() -> None:
    """Layer costs as latencies, on every choice of one stage with the rest fixed."""
    space = get_space("ofa_small", resolutions=(20,))
    costs = LayerSum(space, lambda layer: layer.macs / 1e6 + 0.01 * (layer.kernel == 5), 10)
    code, fastest = extreme(space, costs.of_codes, 20, 1)
    _, slowest = extreme(space, costs.of_codes, 20, -1)
    stage = [i for i, gene in enumerate(space.genes) if gene.field in ("ks", "e") and gene.position < 4]
    depth = next(i for i, gene in enumerate(space.genes) if gene.field == "d" and gene.position == 0)
    codes = np.tile(code, (3**9, 1))
    codes[:, [*stage, depth]] = list(product(range(3), repeat=9))
    assert costs.of_codes(codes, np.full(len(codes), 20)).min() == pytest.approx(fastest)
    assert slowest > fastest
    assert len(single_changes(space, code)) == 2 * len(space.genes)


def test_targets_are_places_in_the_range() -> None:
    space = get_space("ofa_small", resolutions=(20, 28))
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(60)]
    macs = np.array([space.cost(arch, 10).macs for arch in archs])
    predictor = AccuracyPredictor.fit(space, archs, 0.5 + 0.4 * (macs - macs.min()) / np.ptp(macs))
    layers = {layer.key: Timing(1, layer.macs / 1e6, 0.0) for layer in distinct_layers(space, space.resolutions, 10)}
    table = LatencyTable({"kind": "host"}, "uint8", space.resolutions, 10, layers=layers)
    params = SearchParams(device="host", population=40, generations=20, targets={"a": TargetParams(fraction=0.5)})
    results = [search_target("a", TargetParams(fraction=f), params, space, predictor, table, 0) for f in (0.0, 0.5, 1.0)]
    budgets = [result["budget_ms"] for result in results]
    assert budgets[1] == pytest.approx((budgets[0] + budgets[2]) / 2)
    assert [r["predicted_latency_ms"] for r in results] == sorted(r["predicted_latency_ms"] for r in results)
    with pytest.raises(ValueError, match=r"search\.targets\.a: budget_ms: 0\.001 cannot be met"):
        search_target("a", TargetParams(latency_ms=0.001), params, space, predictor, table, 0)
