"""Which sub-networks are measured: of every latency, whatever the device likes, and none twice."""

import numpy as np
import pytest

from ofa_core.accuracies.sampling import promising_archs, sample_archs
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.features import networks
from ofa_core.space.arch import Arch
from ofa_core.space.layer_sums import LayerSum
from ofa_core.space.layers import Layer
from ofa_core.space.registry import get_space
from tests.small_training import SPACE


def milliseconds(layer: Layer) -> float:
    """A device that needs forty times as long for an operation of a 7x7 kernel."""
    return layer.macs * 1e-7 * (40 if layer.kernel == 7 else 1)


LATENCIES = LayerSum(SPACE, milliseconds, num_classes=10)
latencies = LATENCIES.of_codes


def logs(archs: list[Arch]) -> np.ndarray:
    return np.log(LATENCIES(archs))


def shares(archs: list[Arch], parts: int = 5) -> np.ndarray:
    """How many of the networks are in each of the equal parts of the range of log latency."""
    low, high = logs([SPACE.smallest(), SPACE.largest()])
    return np.histogram(logs(archs), np.linspace(low, high, parts + 1))[0] / len(archs)


def test_sampled_networks_have_every_latency() -> None:
    archs = sample_archs(SPACE, latencies, 100, seed=0)
    assert len(archs) == len(set(archs)) == 100
    assert archs == sample_archs(SPACE, latencies, 100, seed=0)
    assert archs != sample_archs(SPACE, latencies, 100, seed=1)
    assert set(archs[:4]) == {extreme for r in SPACE.resolutions for extreme in (SPACE.smallest(r), SPACE.largest(r))}
    assert shares(archs).min() > 0.1
    # Independent choices give hardly any network that is fast.
    rng = np.random.default_rng(0)
    assert shares([SPACE.sample(rng) for _ in range(1000)])[0] < 0.05


def test_promising_networks_have_every_latency() -> None:
    """The predictor rates networks by depth only, so the promising ones are deeper than others of their latency."""
    known = sample_archs(SPACE, latencies, 40, seed=0)
    predictor = AccuracyPredictor.fit(SPACE, known, np.array([0.5 + 0.02 * sum(arch.d) for arch in known]))
    chosen = promising_archs(predictor, latencies, known, 20, seed=0)
    assert chosen == promising_archs(predictor, latencies, known, 20, seed=0)
    assert len(set(chosen) - set(known)) == 20
    assert shares(chosen).min() > 0.05
    others = sample_archs(SPACE, latencies, 400, seed=1)
    deeper = [
        sum(arch.d) - np.mean([sum(other.d) for other in others if abs(logs([other]) - logs([arch])) < 0.1]) for arch in chosen
    ]
    assert min(deeper) > -0.5
    assert np.mean(deeper) > 1


def test_a_small_space_gives_all_it_has() -> None:
    """Depth 1 or 2 in two stages and two resolutions: choices of skipped blocks make no other network."""
    part = SPACE.with_choices(
        {
            "ks": [[3]] * 12,
            "e": [[3]] * 3 + [[3, 4]] + [[3]] * 8,
            "d": [[2, 3], [2], [2]],
        }
    )
    archs = sample_archs(part, LayerSum(part, milliseconds, num_classes=10).of_codes, 50, seed=0)
    assert len(archs) == len(set(networks(part, *part.encode(archs)))) == part.cardinality() * 2 == 4


def test_only_choices_of_the_space_are_drawn() -> None:
    part = SPACE.restrict({"ks": [3, 5], "d": [2, 3], "e": [6]})
    of_part = LayerSum(part, milliseconds, num_classes=10).of_codes
    archs = sample_archs(part, of_part, 60, seed=0)
    predictor = AccuracyPredictor.fit(part, archs, np.linspace(0.5, 0.6, 60))
    for arch in [*archs, *promising_archs(predictor, of_part, archs, 20, seed=0)]:
        assert set(arch.ks or ()) <= {3, 5}
        assert set(arch.d) <= {2, 3}
        assert set(arch.e) == {6}


def test_a_table_that_lacks_a_layer() -> None:
    def without_large_kernels(layer: Layer) -> float:
        if layer.kernel == 7:
            raise KeyError("mbconv-k7: not in the latency table (input 24x24)")
        return milliseconds(layer)

    with pytest.raises(ValueError, match=r"^search\.device: mbconv-k7: not in the latency table"):
        sample_archs(get_space("ofa_small", 0.5, (20, 24)), LayerSum(SPACE, without_large_kernels, 10).of_codes, 20, seed=0)
