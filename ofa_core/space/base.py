"""The interface of a once-for-all space: its genes, its encoding, and its questions.

A space tells what exists (`cardinality`, `sample`, `validate`), what choices mean (`layers`) and what they cost (`cost`).
Predictors and search use architectures encoded as integer arrays: one column per gene, with the index of its choice.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.layers import Layer

RESOLUTIONS = tuple(range(128, 225, 4))
"""Input resolutions of the published spaces, in pixels."""


class Cost(NamedTuple):
    """macs: multiply-accumulates per image. params: number of trainable parameters."""

    macs: int
    params: int


class Gene(NamedTuple):
    """One choice of a space: the field of `Arch`, the index in this field, and the allowed values."""

    field: str
    position: int
    choices: tuple[int | float, ...]


class Slot(NamedTuple):
    """A layer of a space: its name, the genes (columns of the encoding) it depends on, and when it exists.

    depth: (column of a depth gene, smallest depth at which the layer exists). None if it always exists.
    """

    name: str
    genes: tuple[int, ...]
    depth: tuple[int, int] | None


def check_width_mult(width_mult: float) -> None:
    """Raises InputError for an unusable width multiplier."""
    if not 0.05 <= width_mult <= 16:
        raise InputError(f"width_mult: {width_mult} is not between 0.05 and 16")


def check_resolutions(resolutions: Sequence[int]) -> None:
    """Raises InputError unless there are resolutions, and they are ascending multiples of 4, 8 or more."""
    if not len(resolutions) or any(r < 8 or r % 4 for r in resolutions) or list(resolutions) != sorted(set(resolutions)):
        raise InputError(f"resolutions: {list(resolutions)} are not ascending multiples of 4, 8 or more")


class Space(ABC):
    """A once-for-all space at one width multiplier. `genes` and `slots` describe it to predictors, cost counters and search.

    resolutions: the elastic input resolutions in pixels. `validate` also accepts other multiples of 4.
    """

    name: str
    resolutions: tuple[int, ...]
    genes: tuple[Gene, ...]
    slots: tuple[Slot, ...]
    outputs: tuple[str, ...] = ()
    """The points that its networks return by name in training. None: the last layer."""
    choices: dict[str, list[list[int | float]]] | None = None
    """The choices of every gene by field of `Arch`, if the space was restricted to them."""

    @abstractmethod
    def layers(self, arch: Arch, num_classes: int = 1000) -> list[Layer]:
        """The layers of `arch`, in the order in which they run. Raises InputError as `validate` does."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """JSON-ready fields from which `registry.space_of` makes this space again."""

    def restrict(self, allowed: Mapping[str, Sequence[int | float] | None]) -> "Space":
        """The part of this space whose genes have only allowed choices. Every question can be asked of it.

        allowed: values by field of `Arch` (ks, e, d, w), for all genes of the field; None or no entry: all choices. A gene with
        one choice keeps it. A phase of training, the super-network it leaves, and the search in it share one such space.

        Raises InputError, naming the field, for a value that no gene has, and for a gene that would have no choice left.
        """
        nested: dict[str, list[list[int | float]]] = {}
        for field in dict.fromkeys(gene.field for gene in self.genes):
            genes = [gene for gene in self.genes if gene.field == field]
            values = allowed.get(field)
            known = sorted({choice for gene in genes for choice in gene.choices})
            if values is None:
                values = known
            if foreign := [value for value in values if value not in known]:
                raise InputError(f"{field}: {foreign[0]}: allowed are {', '.join(map(str, known))}")
            nested[field] = []
            for gene in genes:
                kept = [choice for choice in gene.choices if choice in values or len(gene.choices) == 1]
                if not kept:
                    raise InputError(f"{field}: {list(values)}: none is one of {', '.join(map(str, gene.choices))}")
                nested[field].append(kept)
        return self.with_choices(nested)

    def with_choices(self, choices: Mapping[str, Sequence[Sequence[int | float]]]) -> "Space":
        """The part of this space in which each gene has exactly these choices, by field and position.

        Raises InputError, naming the field, for choices that are not of this space or not ascending.
        """
        part, genes = copy.copy(self), []
        for gene in self.genes:
            try:
                kept = tuple(choices[gene.field][gene.position])
            except (KeyError, IndexError):
                raise InputError(f"{gene.field}[{gene.position}]: no choices") from None
            if not kept or list(kept) != [choice for choice in gene.choices if choice in kept]:
                raise InputError(
                    f"{gene.field}[{gene.position}]: {list(kept)}: allowed are {', '.join(map(str, gene.choices))}, ascending"
                )
            genes.append(gene._replace(choices=kept))
        part.genes = tuple(genes)
        part.choices = {field: [list(kept) for kept in lists] for field, lists in choices.items()}
        return part

    def cardinality(self) -> int:
        """The exact number of distinct networks at one resolution, if no two choices round to the same channels.

        A gene that not all networks use must belong to blocks of one stage.
        """
        smallest = {column: gene.choices[0] for column, gene in enumerate(self.genes) if gene.field == "d"}
        always = {
            column
            for slot in self.slots
            if slot.depth is None or slot.depth[1] <= smallest[slot.depth[0]]
            for column in slot.genes
        }
        product = math.prod(len(self.genes[column].choices) for column in always)
        for depth, gene in enumerate(self.genes):
            if gene.field == "d":
                # Genes that matter from some depth on: the smallest one at which a layer asks for them.
                least: dict[int, int] = {}
                for slot in self.slots:
                    if slot.depth is not None and slot.depth[0] == depth:
                        for column in set(slot.genes) - always:
                            least[column] = min(slot.depth[1], least.get(column, slot.depth[1]))
                product *= sum(
                    math.prod(len(self.genes[column].choices) for column, first in least.items() if first <= blocks)
                    for blocks in gene.choices
                )
        return product

    def validate(self, arch: Arch) -> None:
        """Raises InputError, naming the field, if `arch` is not in this space."""
        for field in ("ks", "e", "d", "w"):
            allowed = self._choices(field)
            values = getattr(arch, field)
            if (values is None) != (not allowed):
                raise InputError(f"{field}: {'missing' if values is None else 'not a choice'} in space {self.name}")
            if values is None:
                continue
            if len(values) != len(allowed):
                raise InputError(f"{field}: {len(values)} entries, space {self.name} has {len(allowed)}")
            for i, (value, choices) in enumerate(zip(values, allowed, strict=True)):
                if value not in choices:
                    raise InputError(f"{field}[{i}]: {value} is not one of {', '.join(map(str, choices))}")
        if arch.r < 8 or arch.r % 4:
            raise InputError(f"r: {arch.r} is not a multiple of 4, 8 or more")

    def sample(self, rng: np.random.Generator) -> Arch:
        """A random architecture. Every gene and the resolution are uniform and independent, as in the paper."""
        codes = np.array([[rng.integers(len(gene.choices)) for gene in self.genes]])
        return self.decode(codes, np.array([rng.choice(self.resolutions)]))[0]

    def leaning(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Codes (count, genes) of random architectures of all sizes.

        With independent choices nearly all networks would be of medium size. So each has a tendency, uniform from smallest to
        largest, which all its choices follow.
        """
        most = np.array([len(gene.choices) - 1 for gene in self.genes])
        return rng.binomial(most, rng.random((count, 1)))

    def largest(self, resolution: int | None = None) -> Arch:
        """The full network: the last choice of every gene. Default resolution: the largest."""
        codes = np.array([[len(gene.choices) - 1 for gene in self.genes]])
        return self.decode(codes, np.array([resolution or self.resolutions[-1]]))[0]

    def smallest(self, resolution: int | None = None) -> Arch:
        """The smallest network: the first choice of every gene. Default resolution: the smallest."""
        codes = np.zeros((1, len(self.genes)), dtype=int)
        return self.decode(codes, np.array([resolution or self.resolutions[0]]))[0]

    def cost(self, arch: Arch, num_classes: int = 1000) -> Cost:
        """The cost of one network, computed from its layer list. For many networks use `ofa_core.space.layer_sums`."""
        layers = self.layers(arch, num_classes)
        return Cost(sum(layer.macs for layer in layers), sum(layer.params for layer in layers))

    def encode(self, archs: Sequence[Arch]) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, genes) of choice indices, and resolutions (n,) in pixels. Raises InputError for an unknown choice."""
        codes = np.empty((len(archs), len(self.genes)), dtype=np.int16)
        for field in ("ks", "e", "d", "w"):
            columns = [i for i, gene in enumerate(self.genes) if gene.field == field]
            rows = [getattr(arch, field) for arch in archs]
            foreign = {0 if row is None else len(row) for row in rows} - {len(columns)}
            if foreign:
                raise InputError(f"{field}: {foreign.pop()} entries, space {self.name} has {len(columns)}")
            if not columns:
                continue
            values = np.array(rows, dtype=float).reshape(len(archs), len(columns))
            for column, value in zip(columns, values.T, strict=True):
                choices = np.array(self.genes[column].choices, dtype=float)
                index = np.minimum(np.searchsorted(choices, value), len(choices) - 1)
                if (choices[index] != value).any():
                    i, bad = self.genes[column].position, value[choices[index] != value][0]
                    raise InputError(f"{field}[{i}]: {bad:g} is not one of {', '.join(map(str, self.genes[column].choices))}")
                codes[:, column] = index
        return codes, np.array([arch.r for arch in archs], dtype=int)

    def decode(self, codes: np.ndarray, resolutions: np.ndarray) -> list[Arch]:
        """The architectures for codes (n, genes) and resolutions (n,), as from `encode`."""
        archs = []
        for code, resolution in zip(codes, resolutions, strict=True):
            fields: dict[str, list[int | float]] = {}
            for gene, choice in zip(self.genes, code, strict=True):
                fields.setdefault(gene.field, []).append(gene.choices[int(choice)])
            archs.append(Arch.from_dict({"ks": None} | fields | {"r": int(resolution)}))
        return archs

    def _choices(self, field: str) -> list[tuple[int | float, ...]]:
        return [gene.choices for gene in self.genes if gene.field == field]
