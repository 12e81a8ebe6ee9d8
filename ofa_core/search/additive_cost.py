"""Costs that a budget can limit, behind one interface: milliseconds, multiply-accumulates or parameters.

Each cost is a sum over layers, and each layer depends on a few genes. The layer costs of one resolution are stored as one
vector. The cost of an encoded architecture is then a gather by integer index and a sum.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layer_sums import LayerSum
from ofa_core.space.layers import Layer

UNITS = {"latency_ms": "ms", "macs": "MACs", "params": "parameters"}
"""The quantities that a budget can limit, with their units."""


class Table(Protocol):
    """What the search needs of a latency table."""

    def predict(self, space: Space, arch: Arch) -> float:
        """Milliseconds of one network. Raises KeyError naming a layer that the table lacks."""

    def slot_tables(self, space: Space, resolution: int) -> tuple[list[np.ndarray], float]:
        """Milliseconds of each slot's layer, and the constant that every network adds."""


class AdditiveCost:
    """The cost of encoded architectures of one space at the given resolutions."""

    def __init__(
        self,
        space: Space,
        resolutions: Sequence[int],
        tables: Callable[[int], tuple[list[np.ndarray], float]],
        quantity: str = "latency_ms",
    ) -> None:
        """tables(resolution): the cost of each slot's layer, with one axis per gene it depends on, and a constant."""
        self.space, self.quantity = space, quantity
        self.resolutions = np.array(sorted(set(resolutions)))
        genes, slots = space.genes, space.slots
        self._strides = np.zeros((len(genes), len(slots)), np.float32)  # whole numbers; a float product is much faster
        columns = [(*slot.genes, *(() if slot.depth is None else (slot.depth[0],))) for slot in slots]
        sizes = [[len(genes[column].choices) for column in of_slot] for of_slot in columns]
        for s, (of_slot, size) in enumerate(zip(columns, sizes, strict=True)):
            for i, column in enumerate(of_slot):
                self._strides[column, s] += np.prod(size[i + 1 :])
        self._first = np.cumsum([0, *(int(np.prod(size)) for size in sizes)])[:-1]
        values, constants = [], []
        for resolution in self.resolutions:
            of_slots, constant = tables(int(resolution))
            values.append(np.concatenate([self._with_depth(s, table) for s, table in enumerate(of_slots)]))
            constants.append(constant)
        self._values, self._constants = np.array(values), np.array(constants)

    @classmethod
    def latency(cls, space: Space, table: Table, resolutions: Sequence[int]) -> "AdditiveCost":
        """Milliseconds from a latency table. Raises KeyError naming a layer of the space that the table lacks."""
        cost = cls(space, resolutions, lambda resolution: table.slot_tables(space, resolution))
        for row, resolution in zip(cost._values, cost.resolutions, strict=True):
            if np.isnan(row).any():  # predict() raises the error that names the layer
                s = int(np.searchsorted(cost._first, np.flatnonzero(np.isnan(row))[0], side="right")) - 1
                lacking = np.argwhere(np.isnan(table.slot_tables(space, int(resolution))[0][s]))[0]
                codes = np.array([[len(gene.choices) - 1 for gene in space.genes]])
                codes[0, list(space.slots[s].genes)] = lacking
                table.predict(space, space.decode(codes, np.array([resolution]))[0])
        return cost

    @classmethod
    def macs(cls, space: Space, resolutions: Sequence[int], num_classes: int = 1000) -> "AdditiveCost":
        """Multiply-accumulates per image."""
        return cls._count(space, resolutions, num_classes, "macs", lambda layer: layer.macs)

    @classmethod
    def params(cls, space: Space, resolutions: Sequence[int], num_classes: int = 1000) -> "AdditiveCost":
        """Trainable parameters."""
        return cls._count(space, resolutions, num_classes, "params", lambda layer: layer.params)

    @classmethod
    def _count(
        cls, space: Space, resolutions: Sequence[int], num_classes: int, quantity: str, value: Callable[[Layer], float]
    ) -> "AdditiveCost":
        counted = LayerSum(space, value, num_classes)
        return cls(space, resolutions, lambda resolution: (counted.tables(resolution), 0.0), quantity)

    def _with_depth(self, s: int, table: np.ndarray) -> np.ndarray:
        """The flat table of a slot. The depth is its last axis; entries are 0 where the depth skips the layer."""
        depth = self.space.slots[s].depth
        if depth is None:
            return table.ravel()
        exists = np.array(self.space.genes[depth[0]].choices) >= depth[1]
        return np.where(exists, table[..., None], 0.0).ravel()

    def of_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Costs (n,), float64, of codes (n, genes) at resolutions (n,). Infinite at a resolution not in `self.resolutions`."""
        which = np.minimum(np.searchsorted(self.resolutions, resolutions), len(self.resolutions) - 1)
        costs = self._values[which[:, None], self._index(codes)].sum(1) + self._constants[which]
        return np.where(self.resolutions[which] == resolutions, costs, np.inf)

    def of_changes(
        self, codes: np.ndarray, resolutions: np.ndarray, changes: Sequence[tuple[Sequence[int], np.ndarray]]
    ) -> list[np.ndarray]:
        """Costs of alternative choices, one array (n, options) per change.

        A change is (columns, choices), with choices (options, columns). Each cost sums the layers that depend on these columns,
        with all other genes left as they are. Only differences between options are meaningful.
        """
        index, which = self._index(codes), np.searchsorted(self.resolutions, resolutions)[:, None, None]
        found = []
        for columns, choices in changes:
            strides = self._strides[list(columns)]
            slots = np.flatnonzero(strides.any(0))
            strides = strides[:, slots].astype(np.intp)
            others = index[:, slots] - codes[:, columns] @ strides  # (n, slots)
            found.append(self._values[which, others[:, None] + choices @ strides].sum(2))
        return found

    def _index(self, codes: np.ndarray) -> np.ndarray:  # (n, slots)
        return (codes.astype(np.float32) @ self._strides).astype(np.intp) + self._first

    def describe(self, value: float) -> str:
        """The value as text for messages: four digits for latency, an integer otherwise."""
        return f"{value:.4g}" if self.quantity == "latency_ms" else f"{value:.0f}"
