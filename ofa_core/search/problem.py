"""One search problem as arrays: choices, values and costs.

Genes that affect the same layers (kernel size and expand ratio of a block) change together. Such a group is a *unit* with
several *options*. Each combination of resolution and depths is a *stratum*. A member of the search is a stratum plus one
option per unit.

The best networks of different strata have little in common. Searching the strata side by side finds narrow optima that one
mixed population loses.
"""

from collections.abc import Callable
from itertools import product
from typing import Literal, NamedTuple

import numpy as np

from ofa_core.predictor.features import present_genes
from ofa_core.run.errors import InputError
from ofa_core.search.additive_cost import UNITS, AdditiveCost
from ofa_core.space.base import Space

Objective = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Values to maximise (n,), from codes (n, genes) and resolutions (n,)."""
Slopes = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""First-order effect of each gene's choices on the objective (n, genes, most choices). Only differences matter."""


Islands = Literal["resolution", "stratum"]
"""What the members of a separate population share."""


class Members(NamedTuple):
    """options (n, units), stratum (n,), value (n,): the objective."""

    options: np.ndarray
    stratum: np.ndarray
    value: np.ndarray

    def take(self, index: np.ndarray | slice) -> "Members":
        """The members at `index`."""
        return Members(self.options[index], self.stratum[index], self.value[index])

    def join(self, other: "Members") -> "Members":
        """These members followed by `other`."""
        return Members(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


class Problem:
    """Units, strata and counted evaluations of one search. Strata in which no network meets the budget are left out."""

    def __init__(
        self, space: Space, objective: Objective, cost: AdditiveCost, limit: float, slopes: Slopes | None = None
    ) -> None:
        """limit: upper limit of `cost`, may be infinite. slopes: `evolve` requires them.

        Raises InputError at once if no network meets the budget. The message gives the reachable range.
        """
        self.space, self.objective, self.cost, self.limit, self.slopes = space, objective, cost, limit, slopes
        self.slope_price, self.evaluations = 2, 0
        """slope_price: the number of evaluations that the slopes of one architecture count as."""
        self.seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        """Codes, resolutions and values of all evaluations."""
        self._set_units()
        self.depths, self.resolution, self.present = self._strata()
        cheapest = self.extreme(1)
        lowest = self.cost_of(cheapest, np.arange(len(cheapest)))
        fits = np.flatnonzero(lowest <= limit)
        if not len(fits):
            reachable = " to ".join(map(cost.describe, (lowest.min(), self.dearest()))) + f" {UNITS[cost.quantity]}"
            raise InputError(f"{limit:g} cannot be met; reachable are {reachable}")
        self.depths, self.resolution, self.present = self.depths[fits], self.resolution[fits], self.present[fits]
        self.fastest = cheapest[fits]
        keys = map(tuple, np.column_stack([self.depths, self.resolution]).tolist())
        self._stratum = {key: s for s, key in enumerate(keys)}

    def _set_units(self) -> None:
        genes = self.space.genes
        groups: dict[tuple[int, ...], list[int]] = {}
        for column, gene in enumerate(genes):
            if gene.field != "d":
                layers = tuple(s for s, slot in enumerate(self.space.slots) if column in slot.genes)
                groups.setdefault(layers, []).append(column)
        self.units = list(groups.values())
        choices = [list(product(*(range(len(genes[column].choices)) for column in unit))) for unit in self.units]
        self.sizes = np.array([len(options) for options in choices])
        most = self.sizes.max()
        self.real = np.arange(most) < self.sizes[:, None]  # (units, options); False where a unit has fewer options
        self._unit_of = np.zeros(len(genes), dtype=int)
        self._choice = np.zeros((len(genes), most), dtype=np.int16)  # of a gene, per option of its unit
        for u, (unit, options) in enumerate(zip(self.units, choices, strict=True)):
            for column, of_column in zip(unit, zip(*options, strict=True), strict=True):
                self._unit_of[column], self._choice[column, : len(options)] = u, of_column
        self._changes = [(unit, np.array(options)) for unit, options in zip(self.units, choices, strict=True)]
        self._depth_columns = [column for column, gene in enumerate(genes) if gene.field == "d"]
        members = max(len(unit) for unit in self.units)
        # Columns of each unit, for sums over its genes. The padding is one column past the last, which has no effect.
        self._columns = np.array([[*unit, *[len(genes)] * (members - len(unit))] for unit in self.units])  # (units, k)
        padded = np.concatenate([self._choice, np.zeros((1, most), np.int16)])
        self._choices = padded[self._columns].transpose(0, 2, 1)  # (units, options, k)

    def _strata(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choices of the depth genes (strata, depths), resolutions (strata,) and which units exist (strata, units)."""
        genes = self.space.genes
        depths = np.array(list(product(*(range(len(genes[c].choices)) for c in self._depth_columns))), dtype=np.int16)
        count, resolutions = len(depths), self.cost.resolutions
        depths = np.tile(depths, (len(resolutions), 1))
        codes = np.zeros((len(depths), len(genes)), np.int16)
        codes[:, self._depth_columns] = depths
        exist = present_genes(self.space, codes)
        return depths, np.repeat(resolutions, count), exist[:, [unit[0] for unit in self.units]]

    def codes(self, options: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        """Codes (n, genes) of members. Genes of skipped blocks are 0, so that each network has one code."""
        options = np.where(self.present[stratum], options, 0)
        codes = self._choice[np.arange(len(self._unit_of)), options[:, self._unit_of]]
        codes[:, self._depth_columns] = self.depths[stratum]
        return codes

    def members(self, codes: np.ndarray, resolutions: np.ndarray, value: np.ndarray) -> Members:
        """Members for codes (n, genes) and resolutions (n,). Those whose stratum was left out are dropped."""
        stratum = self.strata_of(codes[:, self._depth_columns], resolutions)
        wanted = np.zeros((len(codes), len(self.units)), dtype=int)
        for u, unit in enumerate(self.units):
            for column in unit:
                wanted[:, u] = wanted[:, u] * len(self.space.genes[column].choices) + codes[:, column]
        return Members(wanted, stratum, value).take(stratum >= 0)

    def strata_of(self, depths: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Strata (n,) for choices of the depth genes (n, depths) and resolutions (n,). -1 for those that were left out."""
        keys = map(tuple, np.column_stack([depths, resolutions]).tolist())
        return np.array([self._stratum.get(key, -1) for key in keys], dtype=int)

    def cost_of(self, options: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        """Costs (n,)."""
        return self.cost.of_codes(self.codes(options, stratum), self.resolution[stratum])

    def evaluate(self, options: np.ndarray, stratum: np.ndarray) -> Members:
        """The members with their values. Counts as evaluations."""
        if not len(options):
            return Members(options, stratum, np.zeros(0))
        codes, resolutions = self.codes(options, stratum), self.resolution[stratum]
        values = self.objective(codes, resolutions)
        self.evaluations += len(codes)
        self.seen.append((codes, resolutions, values))
        return Members(options, stratum, values)

    def effects(self, options: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        """First-order change of the value for each option against the current one (n, units, options). Counts evaluations."""
        assert self.slopes is not None
        slopes = self.slopes(self.codes(options, stratum), self.resolution[stratum])
        self.evaluations += self.slope_price * len(options)
        slopes = np.concatenate([slopes, np.zeros_like(slopes[:, :1])], axis=1)
        return self._against_present(slopes[:, self._columns[:, None, :], self._choices].sum(3), options, stratum)

    def extra_costs(self, options: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        """Change of the cost for each option against the current one (n, units, options)."""
        codes, resolutions = self.codes(options, stratum), self.resolution[stratum]
        costs = np.zeros((len(options), *self.real.shape))
        for u, of_unit in enumerate(self.cost.of_changes(codes, resolutions, self._changes)):
            costs[:, u, : self.sizes[u]] = of_unit
        return self._against_present(costs, options, stratum)

    def _against_present(self, values: np.ndarray, options: np.ndarray, stratum: np.ndarray) -> np.ndarray:
        values = values - np.take_along_axis(values, options[:, :, None], 2)
        return np.where(self.present[stratum][:, :, None], values, 0)

    def extreme(self, sign: int) -> np.ndarray:
        """Options (strata, units) of the cheapest (sign 1) or most expensive (sign -1) member of each stratum.

        Exact if a unit's cost does not depend on other units. Otherwise a descent that changes all units at once.
        """
        strata = np.arange(len(self.resolution))
        options = np.zeros((len(strata), len(self.units)), dtype=int) if sign > 0 else np.tile(self.sizes - 1, (len(strata), 1))
        lowest = sign * self.cost_of(options, strata)
        while True:
            better = np.where(self.real, sign * self.extra_costs(options, strata), np.inf).argmin(2)
            costs = sign * self.cost_of(better, strata)
            lower = costs < lowest - 1e-12 * np.abs(lowest)
            if not lower.any():
                return options
            options[lower], lowest[lower] = better[lower], costs[lower]

    def dearest(self) -> float:
        """The highest cost of any member."""
        return float(self.cost_of(self.extreme(-1), np.arange(len(self.resolution))).max())

    def select(self, members: Members, count: int, per_stratum: int) -> Members:
        """The best `count` distinct members, at most `per_stratum` from each stratum, best first."""
        key = np.where(self.present[members.stratum], members.options, 0)
        _, first = np.unique(np.column_stack([members.stratum, key]), axis=0, return_index=True)
        return self.best_of(members.take(np.sort(first)), "stratum", per_stratum).take(slice(0, count))

    def best_of(self, members: Members, islands: Islands, most: int) -> Members:
        """The members, best first, without those beyond the best `most` of their island."""
        key = self.key_of(members, islands)
        order = np.lexsort((-members.value, key))
        start = np.searchsorted(key[order], key[order])  # index at which each member's island begins
        order = np.sort(order[np.arange(len(order)) - start < most])
        return members.take(order[np.argsort(-members.value[order], kind="stable")])

    def key_of(self, members: Members, islands: Islands) -> np.ndarray:
        """The island (n,) of each member: its stratum or its resolution."""
        return members.stratum if islands == "stratum" else self.resolution[members.stratum]
