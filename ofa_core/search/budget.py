"""The budget of a search, in one of three quantities, and the objective to maximise within it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.search.additive_cost import UNITS, AdditiveCost, Table
from ofa_core.search.problem import Problem
from ofa_core.space.base import Space

DEVIATION = 0.683
"""Coverage of plus or minus one standard deviation of a normal distribution."""
ARGUMENTS = {"latency_ms": "budget_ms", "macs": "macs", "params": "params"}
"""The argument of `search` that limits each quantity."""


class Predictor(Protocol):
    """What the search needs of an accuracy predictor.

    Used if present: `slopes(codes, resolutions)` as in `OfficialPredictor`. A lower bound needs `interval(archs, coverage)` as
    in `AccuracyPredictor`.
    """

    def predict_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Expected top-1 (n,) of encoded architectures."""


class Objective:
    """Predicted top-1 minus `deviations` times its standard deviation."""

    def __init__(self, space: Space, predictor: Any, deviations: float = 0.0) -> None:
        if deviations < 0:
            raise InputError(f"deviations: {deviations:g} is less than 0")
        if deviations and not hasattr(predictor, "interval"):
            raise InputError("deviations: this predictor has no uncertainty estimate")
        self.space, self.predictor, self.deviations = space, predictor, deviations

    def __call__(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Objective values (n,) for codes (n, genes) and resolutions (n,)."""
        mean = np.asarray(self.predictor.predict_codes(codes, resolutions), dtype=float)
        if not self.deviations:
            return mean
        low, high = self.predictor.interval(self.space.decode(codes, resolutions), DEVIATION)
        return mean - self.deviations * (high - low) / 2


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit on one of `UNITS`: latency_ms, macs or params."""

    quantity: str
    limit: float

    @classmethod
    def one_of(cls, **limits: float | None) -> "Budget":
        """The one limit that is not None. Raises InputError unless exactly one limit is given and it is above 0."""
        given = {quantity: limit for quantity, limit in limits.items() if limit is not None}
        if len(given) != 1:
            raise InputError(f"budget: give exactly one of {', '.join(ARGUMENTS[quantity] for quantity in limits)}")
        [(quantity, limit)] = given.items()
        if not limit > 0:
            raise InputError(f"{ARGUMENTS[quantity]}: {limit:g} is not above 0")
        return cls(quantity=quantity, limit=float(limit))

    def cost(self, space: Space, table: Table | None, resolutions: Sequence[int], num_classes: int = 1000) -> AdditiveCost:
        """The cost that this budget limits.

        Raises InputError for a latency budget without a table, and KeyError for a layer that the table lacks.
        """
        for resolution in resolutions:
            if resolution < 8 or resolution % 4:
                raise InputError(f"resolutions: {resolution} is not a multiple of 4, 8 or more")
        if self.quantity == "macs":
            return AdditiveCost.macs(space, resolutions, num_classes)
        if self.quantity == "params":
            return AdditiveCost.params(space, resolutions, num_classes)
        if table is None:
            raise InputError("table: a budget in ms needs a latency table")
        return AdditiveCost.latency(space, table, resolutions)

    def problem(self, space: Space, objective: Objective, cost: AdditiveCost) -> Problem:
        """The search problem with this budget. Raises InputError, naming the argument, if no network meets it."""
        try:
            return Problem(space, objective, cost, self.limit)
        except InputError as error:
            raise InputError(f"{ARGUMENTS[self.quantity]}: {error}") from None

    def __str__(self) -> str:
        return f"{self.limit:g} {UNITS[self.quantity]}"


def cost_range(space: Space, cost: AdditiveCost) -> tuple[float, float]:
    """The lowest and the highest cost of any network of the space, over all resolutions of `cost`."""
    everything = Problem(space, lambda codes, _: np.zeros(len(codes)), cost, np.inf)
    return float(everything.cost_of(everything.fastest, np.arange(len(everything.fastest))).min()), everything.dearest()
