"""Challenge scores: values of the published rounds, by hand and from the formulas of the rules."""

import json

import pytest

from ofa_core.commands import main as cli
from ofa_core.report import ovic


def test_frontier_of_the_baselines() -> None:
    found = [(t, round(100 * a, 1)) for t, a in ovic.frontier(ovic.baselines())]
    assert found == [(4, 42.0), (5, 47.8), (8, 56.0), (10, 57.9), (12, 58.3), (13, 61.1), (16, 62.9), (20, 64.6), (25, 67.4),
                     (35, 69.5), (45, 70.6), (55, 71.8), (62, 72.4), (84, 74.2), (126, 75.8)]  # fmt: skip


def test_logarithmic_fits() -> None:
    points = [(t, 100 * a) for t, a in ovic.frontier(ovic.baselines())]
    assert ovic.fit_log(points) == pytest.approx((9.163, 35.279), abs=1e-3)
    assert ovic.fit_log(p for p in points if 10 <= p[0] <= 90) == pytest.approx((7.798, 40.717), abs=1e-3)


@pytest.mark.parametrize(
    ("ms", "between", "curve"), [(24, 66.84, 65.5), (30, 68.45, 67.2), (33, 69.08, 68.0), (36, 69.61, 68.7)]
)
def test_reference_accuracies(ms: float, between: float, curve: float) -> None:
    found = ovic.score(ms, 0.7)
    assert found.reference == pytest.approx(between / 100, abs=6e-5)
    assert found.frontier == pytest.approx(curve / 100, abs=6e-4)
    assert found.metric == pytest.approx(0.7 - found.reference)
    assert found.improvement == pytest.approx(0.7 - found.frontier)
    assert found.bucket == (24, 36)


def test_winners_stand_almost_four_points_above_their_references() -> None:
    winners = {p.latency_ms: p.top1 for p in ovic.published() if p.family == "Winner" and "LPCVC" in p.model}
    assert winners == {35: 0.7329, 36: 0.73405}
    for ms, top1 in winners.items():
        assert ovic.score(ms, top1).metric == pytest.approx(0.038, abs=5e-4)


def test_buckets_and_the_ends_of_the_baselines() -> None:
    assert [ovic.score(t, 0.7).bucket for t in (23.9, 24, 36, 36.1, 80, 120, 120.1)] == [
        None, (24, 36), (24, 36), None, (80, 120), (80, 120), None,
    ]  # fmt: skip
    assert ovic.score(3.9, 0.4).reference is ovic.score(127, 0.7).metric is None


def test_wall_time_of_images() -> None:
    # Three of four images finish within 4 * 30 ms. The fourth is correct but late.
    found = ovic.wall_time([30, 40, 50, 60], [True, False, True, True])
    assert found["test_metric"] == 0.5
    assert found["classified"] == 3
    assert found["accuracy_on_classified"] == pytest.approx(2 / 3)
    assert found["accuracy_over_time"] == pytest.approx(0.5 / 180)
    assert ovic.wall_time([10.0] * 4, [True] * 4)["accuracy_over_time"] == pytest.approx(1 / 120)
    with pytest.raises(ValueError, match="2 latencies and 1 results"):
        ovic.wall_time([1, 2], [True])
    # A slow network loses the images that it does not reach.
    assert ovic.score(27, 0.7267).wall_time[30] == pytest.approx(0.7267)
    assert ovic.score(60, 0.7267).wall_time == pytest.approx({30: 0.36335, 100: 0.7267})


def test_detection_frontier_of_2020() -> None:
    for ms, expected in ((17, 13.44), (30, 23.04), (36, 26.12)):
        assert ovic.detection_improvement(ms, 0.25) == pytest.approx(0.25 - expected / 100, abs=6e-5)


def test_published_networks_name_their_source() -> None:
    points = ovic.published()
    assert {"MobileNetV2", "MobileNetV3", "MnasNet", "EfficientNet-Lite", "OFA"} <= {p.family for p in points}
    assert all(p.source and 0.4 < p.top1 < 0.9 and 0 < p.latency_ms < 200 for p in points)
    assert ("OFA", 35.0, 0.734, 113) in {(p.family, p.latency_ms, p.top1, p.macs_millions) for p in points}


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--latency-ms", "35", "--top1", "0.7329", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == pytest.approx(0.0379, abs=1e-6)
    assert found["bucket"] == [24, 36]
    assert cli.main(["score", "--latency-ms", "35", "--top1", "0.7329"]) == 0
    assert "+3.79 points" in capsys.readouterr().out
    assert cli.main(["score", "--latency-ms", "200", "--map", "0.3"]) == 0
    assert "-25.09 points" in capsys.readouterr().out
    assert cli.main(["score", "--latency-ms", "35", "--top1", "73"]) == 2
    assert "top1: 73.0 is not in 0..1" in capsys.readouterr().err
    assert cli.main(["score", "--latency-ms", "0", "--top1", "0.7"]) == 2
