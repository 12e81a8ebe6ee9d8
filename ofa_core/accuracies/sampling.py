"""Which sub-networks are measured for the predictor: of every latency, first at random, then the most promising."""

from collections.abc import Callable, Collection

import numpy as np

from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.features import canonical, networks
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space

POOL = 20_000
"""Random architectures from which the measured ones are taken."""

Latencies = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Milliseconds (n,) of codes (n, genes) at resolutions (n,), such as `LatencyTable.predict_codes` of one space."""


def sample_archs(space: Space, latencies: Latencies, count: int, seed: int) -> list[Arch]:
    """`count` distinct architectures: the two extremes at every resolution, then random ones of every latency.

    A search asks for networks from the fastest to the slowest. With independent choices nearly all would be of medium size,
    and one slow choice puts them all at one end. So a large pool of networks of all sizes is cut into bins of equal ratios of
    latency, and every bin gives as many. Fewer than `count` are returned if the space has no more.

    Raises InputError, naming the device's parameter, if latencies raises KeyError for a layer that it does not know.
    """
    extremes = [extreme for r in space.resolutions for extreme in (space.smallest(r), space.largest(r))]
    archs = list(dict.fromkeys(extremes))[:count]
    rng = np.random.default_rng([seed, 2])
    codes, resolutions = _pool(space, rng, archs)
    rows = _of_every_latency(_logs(latencies, codes, resolutions), rng.random(len(codes)), count - len(archs), rng)
    return archs + space.decode(codes[rows], resolutions[rows])


def promising_archs(
    predictor: AccuracyPredictor, latencies: Latencies, known: Collection[Arch], count: int, seed: int
) -> list[Arch]:
    """Up to `count` architectures of every latency, none of them in `known`, with the highest predictions for their latency.

    Bins are those of `sample_archs`; each gives the networks with the highest predictions. These are the networks that a search
    will ask for. A predictor fitted to their accuracies as well learns where it was too optimistic.
    """
    rng = np.random.default_rng([seed, 3])
    codes, resolutions = _pool(predictor.space, rng, known)
    predicted = predictor.predict_codes(codes, resolutions)
    rows = _of_every_latency(_logs(latencies, codes, resolutions), predicted, count, rng)
    return predictor.space.decode(codes[rows], resolutions[rows])


def _pool(space: Space, rng: np.random.Generator, known: Collection[Arch]) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, genes) and resolutions (n,) of distinct random architectures that are not known.

    Genes of skipped blocks have their first choice, so that no network is measured twice under two names.
    """
    drawn = np.column_stack([canonical(space, space.leaning(POOL, rng)), rng.choice(space.resolutions, POOL)])
    seen = set(networks(space, *space.encode(list(known))))
    new = [row for row in np.unique(drawn, axis=0).tolist() if tuple(row) not in seen]
    distinct = np.array(new, dtype=int).reshape(-1, len(space.genes) + 1)
    return distinct[:, :-1], distinct[:, -1]


def _logs(latencies: Latencies, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:  # (n,)
    try:
        return np.log(latencies(codes, resolutions))
    except KeyError as error:
        raise InputError(f"search.device: {error.args[0]}") from None


def _of_every_latency(logs: np.ndarray, priority: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of up to `count` networks: in each of `count` bins the first by priority, then the second, until it is enough.

    logs, priority: (n,). Bins have equal widths in the logarithm of latency; there are networks in some of them only. The last
    round, which may not reach all bins, reaches random ones.
    """
    if not count or not len(logs):
        return np.zeros(0, dtype=int)
    bins = np.searchsorted(np.linspace(logs.min(), logs.max(), count + 1)[1:-1], logs)
    order = np.lexsort((-priority, bins))
    turn = np.arange(len(order)) - np.searchsorted(bins[order], bins[order])
    return order[np.lexsort((rng.permutation(count)[bins[order]], turn))][:count]
