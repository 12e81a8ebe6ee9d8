"""Sums over the layers of many architectures at once: MACs and parameters here, milliseconds in `ofa_core.latency`.

Every layer of a space depends on only a few genes, so its value is tabulated for each combination of them. The sum for an
architecture is a sum of table entries. A hundred thousand architectures take a few array operations.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.layers import Layer


class Costs(NamedTuple):
    """MACs and parameters of each architecture, int64 arrays (n,)."""

    macs: np.ndarray
    params: np.ndarray


class LayerSum:
    """The sum of `value(layer)` over the layers of each architecture of `space`.

    value: any function of a layer. Its exceptions, such as a missing table key, pass through.
    """

    def __init__(self, space: Space, value: Callable[[Layer], float], num_classes: int = 1000) -> None:
        self.space, self.value, self.num_classes = space, value, num_classes
        self._tables: dict[int, list[np.ndarray]] = {}

    def __call__(self, archs: Sequence[Arch]) -> np.ndarray:
        """Sums (n,), float64. Raises InputError for an architecture that is not in the space."""
        return self.of_codes(*self.space.encode(archs))

    def of_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Sums (n,) for encoded architectures: codes (n, genes), resolutions (n,) in pixels."""
        sums = np.zeros(len(codes))
        for resolution in np.unique(resolutions):
            rows = np.flatnonzero(resolutions == resolution)
            mine = codes[rows]
            for slot, table in zip(self.space.slots, self.tables(int(resolution)), strict=True):
                values = table[tuple(mine[:, gene] for gene in slot.genes)]
                if slot.depth is not None:
                    column, least = slot.depth
                    depths = np.array(self.space.genes[column].choices)[mine[:, column]]
                    values = np.where(depths >= least, values, 0.0)
                sums[rows] += values
        return sums

    def tables(self, resolution: int) -> list[np.ndarray]:
        """The values of the layer in each slot of the space, with one axis per gene that the layer depends on."""
        if resolution not in self._tables:
            self._tables[resolution] = self._tabulate(resolution)
        return self._tables[resolution]

    def _tabulate(self, resolution: int) -> list[np.ndarray]:
        genes, slots = self.space.genes, self.space.slots
        # Genes that share no layer can vary together, so a few networks show every variant of every layer. Genes of one layer
        # are put into different groups, and the groups run through all combinations.
        group: dict[int, int] = {}
        for slot in slots:
            for gene in slot.genes:
                taken = {group.get(other) for other in slot.genes}
                group.setdefault(gene, next(g for g in range(len(taken) + 1) if g not in taken))
        sizes = [max(len(genes[gene].choices) for gene in group if group[gene] == g) for g in range(len(set(group.values())))]
        combinations = np.array(list(product(*map(range, sizes))))  # (networks, groups)
        # Other genes take their last choice. This gives the deepest network, in which every layer exists.
        codes = np.tile([len(gene.choices) - 1 for gene in genes], (len(combinations), 1))
        for gene, g in group.items():
            codes[:, gene] = np.minimum(combinations[:, g], len(genes[gene].choices) - 1)
        # A restricted space may lack the depth at which a layer exists: its values stay 0.
        tables = [np.zeros([len(genes[gene].choices) for gene in slot.genes]) for slot in slots]
        archs = self.space.decode(codes, np.full(len(codes), resolution))
        for code, arch in zip(codes, archs, strict=True):
            layers = {layer.name: layer for layer in self.space.layers(arch, self.num_classes)}
            for slot, table in zip(slots, tables, strict=True):
                if slot.name in layers:
                    table[tuple(code[gene] for gene in slot.genes)] = self.value(layers[slot.name])
        return tables


def count_costs(space: Space, archs: Sequence[Arch], num_classes: int = 1000) -> Costs:
    """MACs and parameters of many architectures. Same values as `space.cost`.

    Raises InputError for an architecture that is not in the space.
    """
    codes, resolutions = space.encode(archs)
    macs = LayerSum(space, lambda layer: layer.macs, num_classes).of_codes(codes, resolutions)
    # Parameters do not depend on the resolution, so one table serves all.
    one = np.full(len(codes), space.resolutions[0])
    params = LayerSum(space, lambda layer: layer.params, num_classes).of_codes(codes, one)
    return Costs(macs.astype(np.int64), params.astype(np.int64))


def distinct_layers(space: Space, resolutions: Iterable[int], num_classes: int) -> list[Layer]:
    """One layer for each distinct `Layer.key` among the sub-networks of the space at these resolutions, in running order."""
    layers: dict[str, Layer] = {}

    def collect(layer: Layer) -> float:
        layers.setdefault(layer.key, layer)
        return 0.0

    visit = LayerSum(space, collect, num_classes)
    for resolution in resolutions:
        visit.tables(resolution)
    return list(layers.values())
