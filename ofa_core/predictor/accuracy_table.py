"""The measured accuracies to which predictors are fitted: a folder with accuracies.csv and space.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ofa_core.predictor.features import networks
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.registry import space_of

TABLE, SPACE = "accuracies.csv", "space.json"
FIELDS = ("ks", "e", "d", "w")
"""Columns with lists, as numbers separated by spaces. A column is left out if the space has no such choice."""
VALUES = ("top1", "cross_entropy", "int8_top1")
"""Columns with measured values: shares in 0..1, and nats per image. An empty cell was not measured."""


@dataclass(frozen=True)
class Accuracies:
    """Architectures of one space, each with its resolution, and what was measured on val. values: (n,) by name: those of
    `VALUES`, or others of other tasks."""

    space: Space
    archs: list[Arch]
    values: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls, space: Space, archs: Sequence[Arch], rows: Sequence[Mapping[str, float]], names: Sequence[str] = VALUES
    ) -> "Accuracies":
        """From one mapping of values for each architecture. A value of `names` that is missing is NaN."""
        return cls(space, list(archs), {name: np.array([row.get(name, np.nan) for row in rows], dtype=float) for name in names})

    def extended(self, other: "Accuracies") -> "Accuracies":
        """With the networks of `other`, in the same space, that are not here yet; each once, or it would count twice."""
        known, others = (networks(self.space, *self.space.encode(archs)) for archs in (self.archs, other.archs))
        first = {network: i for i, network in reversed(list(enumerate(others))) if network not in set(known)}
        new = sorted(first.values())
        values = {name: np.concatenate([self.values[name], other.values[name][new]]) for name in self.values}
        return Accuracies(self.space, [*self.archs, *(other.archs[i] for i in new)], values)

    def write(self, folder: Path) -> None:
        """Writes the folder, completely or not at all. Equal measurements give equal bytes."""
        rows = [
            {name: " ".join(map(str, value)) for name in FIELDS if (value := getattr(arch, name))} | {"r": arch.r}
            for arch in self.archs
        ]
        table = pd.concat([pd.DataFrame(rows), pd.DataFrame(self.values)], axis=1)
        with files.replacing_folder(folder) as new:
            files.write_bytes(new / TABLE, table.to_csv(index=False).encode())
            files.write_json(new / SPACE, self.space.description())

    @classmethod
    def read(cls, folder: Path, names: Sequence[str] = VALUES) -> "Accuracies":
        """Reads these values of what `write` wrote. Raises InputError, one line, if a file is missing or is something else."""
        path = folder / SPACE
        description = files.read_json(path)
        try:
            space = space_of(description)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: not a space ({error})") from None
        path = folder / TABLE
        try:
            table = pd.read_csv(path, dtype=dict.fromkeys(FIELDS, str))
            lists = [[_numbers(cell) for cell in table[name]] if name in table else [None] * len(table) for name in FIELDS]
            archs = [Arch(ks, e, d, r, w) for ks, e, d, w, r in zip(*lists, table["r"].tolist(), strict=True)]
            space.encode(archs)
            return cls(space, archs, {name: table[name].to_numpy(dtype=float) for name in names})
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a table of accuracies ({error})") from None


def _numbers(cell: str) -> tuple[int | float, ...]:
    return tuple(float(number) if "." in number else int(number) for number in cell.split())
