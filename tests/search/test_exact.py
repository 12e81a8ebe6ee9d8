"""The exact engine: against brute force on restricted spaces, and on the full ofa_mbv3 space."""

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from ofa_core.latency import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.additive import AdditivePredictor, stage_choices
from ofa_core.search import search
from ofa_core.search.additive_cost import AdditiveCost
from ofa_core.search.exact import optimum, solve
from ofa_core.search.problem import Problem
from ofa_core.space.base import Space
from ofa_core.space.registry import OFA_MBV3, get_space
from tests.conftest import arch_of, shared_data


def restricted(rng: np.random.Generator) -> Space:
    """Two or three stages of at most two blocks, with few kernel sizes, ratios and depths."""
    sizes = tuple(sorted(rng.choice((3, 5, 7), 2, replace=False).tolist()))
    ratios = tuple(sorted(rng.choice((3, 4, 6), 2, replace=False).tolist()))
    stages = OFA_MBV3.stages[: int(rng.integers(2, 4))]
    stages = tuple(replace(stage, depths=(1, 2), kernel_sizes=sizes, expand_ratios=ratios) for stage in stages)
    return replace(OFA_MBV3, stages=stages).space("restricted", resolutions=(64, 96))


def all_codes(space: Space) -> tuple[np.ndarray, np.ndarray]:
    codes = np.array(list(product(*(range(len(gene.choices)) for gene in space.genes))), np.int16)
    return np.tile(codes, (2, 1)), np.repeat(space.resolutions, len(codes))


@pytest.mark.parametrize("seed", range(24))
def test_equals_brute_force(seed: int) -> None:
    """Compares with all architectures of a space. The predictor has pair effects within stages, fitted to random values."""
    rng = np.random.default_rng(seed)
    space = restricted(rng)
    archs = [space.sample(rng) for _ in range(60)]
    size = np.array([space.cost(arch).params for arch in archs], dtype=float)
    top1 = 0.5 + 0.2 * (size - size.min()) / np.ptp(size) + 0.05 * rng.standard_normal(60)
    predictor = AdditivePredictor.fit(space, archs, top1)
    codes, resolutions = all_codes(space)
    quantity = ("macs", "params")[seed % 2]
    cost = AdditiveCost.macs(space, space.resolutions) if quantity == "macs" else AdditiveCost.params(space, space.resolutions)
    costs, values = cost.of_codes(codes, resolutions), predictor.predict_codes(codes, resolutions)
    for share in (0.02, 0.1, 0.3, 0.6, 0.95):
        limit = float(np.quantile(costs, share))
        found = search(space, predictor, None, engine="exact", **{quantity: limit})  # type: ignore[arg-type]
        assert found.proven
        assert found.cost <= limit
        assert found.accuracy == pytest.approx(values[costs <= limit].max(), abs=1e-12)


def test_knapsack_of_random_numbers() -> None:
    """Arbitrary real costs, and equal costs and values."""
    rng = np.random.default_rng(0)
    for case in range(40):
        sizes = rng.integers(1, 7, size=int(rng.integers(1, 6)))
        draw = rng.random if case % 2 else lambda n: rng.integers(4, size=n).astype(float)
        values, costs = ([draw(int(n)) for n in sizes] for _ in range(2))
        limit = sum(c.min() for c in costs) + rng.random() * sum(np.ptp(c) for c in costs)
        every = [(sum(c), sum(v)) for c, v in zip(product(*costs), product(*values), strict=True)]
        best = max(v for c, v in every if c <= limit)
        found = solve(values, costs, limit)
        assert found is not None
        assert found.value == pytest.approx(best, abs=1e-12)
        assert sum(v[i] for v, i in zip(values, found.chosen, strict=True)) == pytest.approx(best, abs=1e-12)
        assert sum(c[i] for c, i in zip(costs, found.chosen, strict=True)) <= limit + 1e-12
    assert solve([np.array([1.0])], [np.array([2.0])], 1.0) is None


def test_full_space_of_measured_networks() -> None:
    """Fitted to networks measured on ImageNet: 7,371 choices per stage, three resolutions, under five seconds."""
    space = get_space("ofa_mbv3", 1.2, (160, 192, 224))
    rows = pd.read_csv(shared_data("ofa/ofa_mbv3_w1.0_imagenet_top1.csv"))
    archs, top1 = [arch_of(row) for _, row in rows.iterrows()], rows["top1"].to_numpy() / 100
    predictor = AdditivePredictor.fit(space, archs[:1500], top1[:1500])
    residual = predictor.predict(archs[1500:]) - top1[1500:]
    assert 100 * np.sqrt((residual**2).mean()) < 0.2
    table = LatencyTable.load(shared_data("ofa/note10"))
    started = time.process_time()
    found = search(space, predictor, table, budget_ms=25.0, engine="exact")
    assert time.process_time() - started < 5
    assert found.proven
    assert found.latency_ms is not None
    assert found.latency_ms <= 25
    other = search(space, predictor, table, budget_ms=25.0)  # evolution, on the same predictor
    assert found.accuracy - 0.001 < other.accuracy <= found.accuracy + 1e-12


def test_tables_handed_in() -> None:
    """Accepts any object that gives the values of stage choices. Checked against brute force on a small problem."""
    space = get_space("ofa_small_k7", resolutions=(20,))
    rng = np.random.default_rng(3)
    stages = stage_choices(space)
    assert [len(stage.codes) for stage in stages] == [7371] * 3
    tables = [rng.random(len(stage.codes)) for stage in stages]

    class Handed:
        def stage_values(self, resolution: int) -> tuple[float, list[np.ndarray]]:
            return 0.1, tables

    cost = AdditiveCost.macs(space, (20,))
    problem = Problem(space, lambda codes, _: np.zeros(len(codes)), cost, 5e6)
    code, resolution, value = optimum(problem, Handed())
    assert resolution == 20
    assert cost.of_codes(code[None], np.array([20]))[0] <= 5e6
    picked = [int(np.flatnonzero((codes == code[list(columns)]).all(1))[0]) for columns, codes in stages]
    assert value == pytest.approx(0.1 + sum(table[i] for table, i in zip(tables, picked, strict=True)))


def test_slopes_are_differences() -> None:
    """The prediction is linear in each block: changing one choice changes it by the difference of slopes."""
    space = get_space("ofa_small_k7")
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(200)]
    predictor = AdditivePredictor.fit(space, archs, rng.random(200))
    codes, resolutions = space.encode(archs)
    changed = codes.copy()
    changed[:, 0] = (codes[:, 0] + 1) % 3
    slopes, rows = predictor.slopes(codes, resolutions), np.arange(200)
    difference = predictor.predict_codes(changed, resolutions) - predictor.predict_codes(codes, resolutions)
    np.testing.assert_allclose(slopes[rows, 0, changed[:, 0]] - slopes[rows, 0, codes[:, 0]], difference, atol=1e-12)


def test_spaces_whose_stages_are_coupled() -> None:
    space = get_space("ofa_resnet50")
    with pytest.raises(ValueError, match="ofa_resnet50: its stages share layers"):
        stage_choices(space)
    archs = [space.sample(np.random.default_rng(i)) for i in range(12)]
    predictor = AccuracyPredictor.fit(space, archs, np.linspace(0.5, 0.6, 12))
    with pytest.raises(ValueError, match="share layers"):
        search(space, predictor, None, macs=2e9, engine="exact")
    with pytest.raises(ValueError, match="at least 10"):
        AdditivePredictor.fit(get_space("ofa_small_k7"), [], [])
