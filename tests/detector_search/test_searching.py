"""The search for detectors: the operator's time is part of a budget, and what is found is named by its own score."""

import numpy as np
import pytest

from ofa_core.detector_search.operator_time import WithOperator, operator_ms
from ofa_core.detector_search.params import SearchDetectorParams
from ofa_core.detector_search.searching import as_map, as_top1, choose_measured, search
from ofa_core.latency.table import LatencyTable
from ofa_core.run.errors import InputError
from ofa_core.runtime.timing import Timing
from ofa_core.search.params import TargetParams
from ofa_core.space.arch import Arch
from ofa_core.space.layer_sums import distinct_layers
from tests.detector_tuning.test_pseudo_labels import DESIGN
from tests.squares import SETTINGS, SPACE, trained

OPERATOR = {32: 0.5, 40: 0.1}


def table() -> LatencyTable:
    """A nanosecond for a thousand multiply-accumulates."""
    layers = {layer.key: layer for layer in distinct_layers(SPACE, SPACE.resolutions, 2)}
    timings = {key: Timing(layer.macs / 1e9, 0.0, 1) for key, layer in layers.items()}
    return LatencyTable({"kind": "host"}, "uint8", SPACE.resolutions, 2, layers=timings)


def params(limit: float) -> SearchDetectorParams:
    targets = {"small": TargetParams(latency_ms=limit)}
    return SearchDetectorParams(device="host", effort="normal", candidates=3, tolerance=0.0, targets=targets)


def measured() -> tuple[list[Arch], list[float]]:
    """Larger detectors are better, by a third of the logarithm of their size."""
    rng = np.random.default_rng(0)
    archs = SPACE.decode(SPACE.leaning(40, rng), rng.choice(SPACE.resolutions, 40))
    return archs, [float(np.log(SPACE.cost(arch, 2).macs) / 30) for arch in archs]


def test_a_budget_holds_for_the_whole_detector() -> None:
    known = as_top1(SPACE, *measured())
    whole = WithOperator(table(), OPERATOR)
    arch = SPACE.largest(32)
    assert whole.predict(SPACE, arch) == pytest.approx(table().predict(SPACE, arch) + 0.5)
    found, quality, points = search(params(0.105), known, whole, 0)
    assert quality["architectures"] == len(points) == 40
    result = found["small"]
    assert result["arch"]["r"] == 40  # at 32 pixels, the operator alone takes longer
    for row in result["candidates"]:
        assert row["predicted_latency_ms"] == pytest.approx(whole.predict(SPACE, Arch.from_dict(row["arch"])))
        assert row["predicted_latency_ms"] <= 0.105

    archs = [Arch.from_dict(row["arch"]) for row in result["candidates"]]
    network_ms = {"host": {arch: table().predict(SPACE, arch) for arch in archs}}
    scores = as_top1(SPACE, archs, [0.3, 0.5, 0.4][: len(archs)])
    chosen, report, listed = choose_measured(params(0.105), found, known, scores, network_ms, OPERATOR)
    best = chosen["small"]
    assert best["postprocess_ms"] == 0.1
    assert best["measured_latency_ms"] == pytest.approx(whole.predict(SPACE, Arch.from_dict(best["arch"])))
    assert not [key for key in (*best, *report["small"], *listed.columns) if "top1" in key]


def test_a_budget_below_all_names_its_target() -> None:
    with pytest.raises(InputError, match=r"^search_detector\.targets\.small: .*cannot be met"):
        search(params(0.05), as_top1(SPACE, *measured()), WithOperator(table(), OPERATOR), 0)


def test_names() -> None:
    assert as_map({"predicted_top1": 1, "rows": [{"top1": 2}]}) == {"predicted_map": 1, "rows": [{"map": 2}]}


def test_the_operator_is_timed_at_each_resolution() -> None:
    found = trained()
    times = operator_ms(found.net, found.evaluator, DESIGN, SETTINGS, "composed", 1)
    assert set(times) == set(SPACE.resolutions)
    assert all(0 <= ms < 5 for ms in times.values())
