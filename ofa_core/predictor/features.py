"""Architectures as features for a predictor: one-hot choices (zero where the depth skips the block), resolution and size."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ofa_core.space.base import Space
from ofa_core.space.layer_sums import LayerSum

RESOLUTION_SCALE = 4.0
"""Scale of the resolution feature. It spans about 2 within a space, similar to distances between one-hot choices."""
SIZE_SCALE = 2.0
"""Scale of the size feature, for the same reason."""


def encode_features(space: Space, codes: np.ndarray, resolutions: np.ndarray) -> dict[str, np.ndarray]:
    """Feature groups by name: each field of `Arch` in the space (n, features of the field), r and size (n, 1).

    codes (n, genes), resolutions (n,): as `space.encode` returns them. The resolution is a number, not a class, so predictions
    extend beyond the resolutions of the training data. It enters as the reciprocal of the pixels, in which accuracy is nearly
    linear: each further pixel gains less, and the total gain is bounded.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for gene, present, choice in zip(space.genes, present_genes(space, codes).T, codes.T, strict=True):
        one_hot = choice[:, None] == np.arange(len(gene.choices))  # (n, choices)
        columns.setdefault(gene.field, []).append(one_hot & present[:, None])
    features = {field: np.concatenate(parts, axis=1).astype(float) for field, parts in columns.items()}
    features |= {"r": RESOLUTION_SCALE * (1 - space.resolutions[-1] / resolutions[:, None])}
    return features | {"size": _size(space, codes)[:, None]}


def _size(space: Space, codes: np.ndarray) -> np.ndarray:  # -> (n,)
    """The logarithm of MACs at the largest resolution, from 0 (smallest network) to `SIZE_SCALE` (largest network).

    A few measurements mostly show that larger networks are better. No single choice expresses that.
    """
    macs, low, high = _sizes(space)
    sizes = macs.of_codes(codes, np.full(len(codes), space.resolutions[-1]))
    return SIZE_SCALE * np.log(sizes / low) / (np.log(high / low) or 1.0)


@lru_cache(maxsize=32)
def _sizes(space: Space) -> tuple[LayerSum, float, float]:
    """MACs of the space's networks with a classifier of one class, and those of the smallest and the largest network."""
    macs = LayerSum(space, lambda layer: layer.macs, num_classes=1)
    low, high = macs([space.smallest(space.resolutions[-1]), space.largest(space.resolutions[-1])])
    return macs, float(low), float(high)


def present_genes(space: Space, codes: np.ndarray) -> np.ndarray:
    """Which genes matter, bool (n, genes). False for genes of blocks that the depth skips."""
    conditions = _conditions(space)
    present = np.ones(codes.shape, dtype=bool)
    for condition in conditions:
        present[:, condition.genes] = False
    for genes, columns, least in conditions:  # depths ascend, so choices compare like depths
        present[:, genes] |= codes[:, columns] >= least
    return present


def canonical(space: Space, codes: np.ndarray) -> np.ndarray:
    """Codes (n, genes) in which every gene that does not matter has its first choice: equal for equal networks."""
    return np.where(present_genes(space, codes), codes, 0)


def networks(space: Space, codes: np.ndarray, resolutions: np.ndarray) -> list[tuple[int, ...]]:
    """One key for each encoded architecture, equal for equal networks: its canonical codes and its resolution."""
    return [(*code, r) for code, r in zip(canonical(space, codes).tolist(), resolutions.tolist(), strict=True)]


class _Conditions(NamedTuple):
    """Genes (k,) that matter if the depth genes in `columns` (k,) have at least the choice `least` (k,). No gene twice."""

    genes: np.ndarray
    columns: np.ndarray
    least: np.ndarray


@lru_cache(maxsize=32)
def _conditions(space: Space) -> tuple[_Conditions, ...]:
    """Conditions under which genes matter, without genes that always do. A gene of several stages has several entries."""
    least: dict[int, dict[int, int]] = {}
    always: set[int] = set()
    for slot in space.slots:
        if slot.depth is None:
            always.update(slot.genes)
            continue
        column, depth = slot.depth
        depths = space.genes[column].choices  # a restricted space may lack the depth; then no choice is large enough
        choice = next((i for i, value in enumerate(depths) if value >= depth), len(depths))
        for gene in slot.genes:
            columns = least.setdefault(gene, {})
            columns[column] = min(choice, columns.get(column, choice))
    entries = [(g, column, choice) for g, columns in least.items() if g not in always for column, choice in columns.items()]
    rounds: list[list[tuple[int, int, int]]] = []
    for entry in entries:
        free = next((r for r in rounds if entry[0] not in {g for g, _, _ in r}), None)
        if free is None:
            rounds.append(free := [])
        free.append(entry)
    return tuple(_Conditions(*np.array(r).T) for r in rounds)
