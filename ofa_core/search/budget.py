"""What a latency table allows: the fastest and the slowest sub-network, and budgets between them."""

from collections.abc import Callable

import numpy as np

from ofa_core.space import Space

LatencyOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Milliseconds (n,) of encoded architectures: codes (n, genes), resolutions (n,)."""


def extreme(space: Space, latency_of: LatencyOf, resolution: int, sign: int) -> tuple[np.ndarray, float]:
    """The fastest (sign 1) or slowest (sign -1) sub-network at a resolution: its code (genes,) and milliseconds.

    Steepest descent over single choices from the smallest or largest architecture. Exact where every gene's best choice does
    not depend on the other genes of its kind, as in tables that sum over blocks.
    """
    start = space.smallest(resolution) if sign > 0 else space.largest(resolution)
    code = space.encode([start])[0][0]
    best = sign * latency_of(code[None], np.array([resolution]))[0]
    while True:
        neighbours = single_changes(space, code)
        values = sign * latency_of(neighbours, np.full(len(neighbours), resolution))
        if values.min() >= best:
            return code, sign * best
        code, best = neighbours[values.argmin()], values.min()


def latency_range(space: Space, latency_of: LatencyOf, resolutions: tuple[int, ...]) -> tuple[float, float]:
    """Milliseconds of the fastest and of the slowest sub-network over all resolutions."""
    fastest = min(extreme(space, latency_of, resolution, 1)[1] for resolution in resolutions)
    slowest = max(extreme(space, latency_of, resolution, -1)[1] for resolution in resolutions)
    return fastest, slowest


def single_changes(space: Space, code: np.ndarray) -> np.ndarray:
    """All codes (m, genes) that differ from `code` (genes,) in one gene."""
    changed = []
    for gene, spec in enumerate(space.genes):
        for choice in range(len(spec.choices)):
            if choice != code[gene]:
                neighbour = code.copy()
                neighbour[gene] = choice
                changed.append(neighbour)
    return np.array(changed)
