"""A predictor that is a sum over stages.

    top1 = constant(r) + sum over stages of value(r, choices of the stage)

Within a stage, choices of different blocks can have pair effects. Between stages there are none, so the best network under a
budget can be found exactly (`ofa_core.search.exact`). The fit is ridge regression. Its strength minimises generalised
cross-validation (Golub, Heath, Wahba, 1979).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from ofa_core.predictor.features import present_genes
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space

RESOLUTION_UNIT = 32.0
"""Pixels per unit of the resolution feature."""
PAIR_SCALE = 0.3
"""Scale of pair features. Below 1, so that ridge regression penalises pairs more than single choices."""
STRENGTHS = np.logspace(-3, 4, 29)
MOST_CHOICES = 200_000


class StageChoices(NamedTuple):
    """All distinct variants of one stage: its genes (columns), and their choices (choices, columns)."""

    columns: tuple[int, ...]
    codes: np.ndarray


@lru_cache(maxsize=8)
def stage_choices(space: Space) -> tuple[StageChoices, ...]:
    """The stages of a space: sets of genes that share no layer with the genes of other stages.

    Raises ValueError for a space whose stages are coupled (ofa_resnet50: a width belongs to two stages).
    """
    group = list(range(len(space.genes)))
    for slot in space.slots:
        joined = {group[column] for column in (*slot.genes, *(() if slot.depth is None else (slot.depth[0],)))}
        group = [min(joined) if g in joined else g for g in group]
    stages = []
    for g in sorted(set(group)):
        columns = tuple(column for column in range(len(space.genes)) if group[column] == g)
        count = np.prod([len(space.genes[column].choices) for column in columns], dtype=float)
        if count > MOST_CHOICES:
            raise ValueError(f"space {space.name}: its stages share layers, so no predictor is additive over them")
        codes = np.zeros((int(count), len(space.genes)), np.int16)
        codes[:, columns] = list(product(*(range(len(space.genes[column].choices)) for column in columns)))
        codes = np.where(present_genes(space, codes), codes, 0)
        stages.append(StageChoices(columns, np.unique(codes[:, columns], axis=0)))
    return tuple(stages)


class AdditivePredictor:
    """Predicts top-1 as a sum over stages.

    constant (3,): coefficients of 1, r and r squared. single (features,): effect of each choice. by_resolution (features,):
    the same, times r. pairs (features, features), symmetric: effects of two choices of one stage.
    r is measured in units of 32 pixels from the largest resolution of the space.
    """

    def __init__(
        self, space: Space, constant: np.ndarray, single: np.ndarray, by_resolution: np.ndarray, pairs: np.ndarray
    ) -> None:
        self.space, self.constant, self.single, self.by_resolution, self.pairs = space, constant, single, by_resolution, pairs
        self._first = _first_features(space)

    @classmethod
    def fit(cls, space: Space, archs: Sequence[Arch], top1: Sequence[float] | np.ndarray, seed: int = 0) -> "AdditivePredictor":
        """Fits to architectures, each with its resolution, and top-1 in 0..1 (n,). seed: unused; the fit is deterministic.

        Raises ValueError for fewer than 10 architectures, for unequal lengths, and for a space whose stages are coupled.
        """
        if len(archs) != len(top1) or len(archs) < 10:
            raise ValueError(
                f"predictor: {len(archs)} architectures and {len(top1)} accuracies; at least 10 of each are needed"
            )
        stages = [stage.columns for stage in stage_choices(space)]
        return cls.fit_codes(space, *space.encode(archs), np.asarray(top1, dtype=float), stages)

    @classmethod
    def fit_codes(
        cls,
        space: Space,
        codes: np.ndarray,
        resolutions: np.ndarray,
        values: np.ndarray,
        stages: Sequence[Sequence[int]] = (),
    ) -> "AdditivePredictor":
        """Fits to codes (n, genes), resolutions (n,) and values (n,). stages: gene columns within which pairs have effects."""
        first, x = _first_features(space), _one_hot(space, codes)
        r = _units(space, resolutions)
        left, right = _pairs(space, first, stages)
        columns = [x, x * r[:, None], PAIR_SCALE * x[:, left] * x[:, right], r[:, None], r[:, None] ** 2]
        design = np.concatenate(columns, axis=1)
        centre = design.mean(0)
        weights = _ridge(design - centre, values - values.mean())
        features = x.shape[1]
        pairs = np.zeros((features, features))
        pairs[left, right] = PAIR_SCALE * weights[2 * features : 2 * features + len(left)]
        constant = np.array([values.mean() - centre @ weights, *weights[-2:]])
        return cls(space, constant, weights[:features], weights[features : 2 * features], pairs + pairs.T)

    def predict(self, archs: Sequence[Arch]) -> np.ndarray:
        """Expected top-1 (n,). Raises ValueError for an architecture that is not in the space."""
        return self.predict_codes(*self.space.encode(archs))

    def predict_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Expected top-1 (n,) of encoded architectures: codes (n, genes), resolutions (n,)."""
        x, r = _one_hot(self.space, codes), _units(self.space, resolutions)
        own = x @ self.single + r * (x @ self.by_resolution) + ((x @ self.pairs) * x).sum(1) / 2
        return own + self.constant @ np.stack([np.ones_like(r), r, r**2])

    def slopes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Partial derivatives with respect to the choices (n, genes, most choices), as in `OfficialPredictor.slopes`."""
        x, r = _one_hot(self.space, codes), _units(self.space, resolutions)
        gradient = self.single + r[:, None] * self.by_resolution + x @ self.pairs
        genes = self.space.genes
        slopes = np.zeros((len(codes), len(genes), max(len(gene.choices) for gene in genes)))
        for gene, (first, last) in enumerate(zip(self._first[:-1], self._first[1:], strict=True)):
            slopes[:, gene, : last - first] = gradient[:, first:last]
        return slopes

    def stage_values(self, resolution: int) -> tuple[float, list[np.ndarray]]:
        """The constant, and the values (choices,) of the choices of each stage of `stage_choices`."""
        reference, r = np.zeros(len(self.space.genes), np.int16), _units(self.space, np.array([resolution]))[0]
        values = []
        for columns, choices in stage_choices(self.space):
            codes = np.tile(reference, (len(choices), 1))
            codes[:, columns] = choices
            mine = np.concatenate([np.arange(self._first[column], self._first[column + 1]) for column in columns])
            x = _one_hot(self.space, codes)[:, mine]
            of_pairs = ((x @ self.pairs[np.ix_(mine, mine)]) * x).sum(1) / 2
            values.append(x @ (self.single[mine] + r * self.by_resolution[mine]) + of_pairs)
        return float(self.constant @ [1, r, r**2]), values


def _units(space: Space, resolutions: np.ndarray) -> np.ndarray:
    return (np.asarray(resolutions) - space.resolutions[-1]) / RESOLUTION_UNIT


def _first_features(space: Space) -> np.ndarray:
    return np.cumsum([0, *(len(gene.choices) for gene in space.genes)])


def _one_hot(space: Space, codes: np.ndarray) -> np.ndarray:  # (n, features)
    first = _first_features(space)
    x = np.zeros((len(codes), first[-1]))
    x[np.arange(len(codes))[:, None], first[:-1] + codes] = present_genes(space, codes)
    return x


def _pairs(space: Space, first: np.ndarray, stages: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of features of two different genes of one stage. Depths are left out: they show in which blocks are present."""
    pairs: list[tuple[int, int]] = []
    for columns in stages:
        genes = [column for column in columns if space.genes[column].field != "d"]
        for i, a in enumerate(genes):
            for b in genes[i + 1 :]:
                pairs += product(range(first[a], first[a + 1]), range(first[b], first[b + 1]))
    left, right = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return left, right


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (features,) for centred x (n, features) and y (n,)."""
    eigenvalues, vectors = np.linalg.eigh(x.T @ x)
    eigenvalues = np.maximum(eigenvalues, 0)
    projected = vectors.T @ (x.T @ y)
    damped = eigenvalues + STRENGTHS[:, None]
    residual = y @ y - (projected**2 * (eigenvalues + 2 * STRENGTHS[:, None]) / damped**2).sum(1)
    freedom = len(y) - 1 - (eigenvalues / damped).sum(1)
    best = np.where(freedom > 0, residual / np.maximum(freedom, 1e-9) ** 2, np.inf).argmin()
    return vectors @ (projected / damped[best])
