"""The table of measured accuracies to which predictors are fitted."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ofa_core.run import files
from ofa_core.space.arch import Arch

LISTS = ("ks", "e", "d", "w")
"""Columns that hold numbers separated by spaces: fields of `Arch`."""


def write_accuracies(path: Path, archs: list[Arch], top1: list[float], int8_top1: Mapping[int, float] = {}) -> None:
    """Writes CSV: those of `LISTS` that the space has, r in pixels, top1 and int8_top1 in 0..1.

    int8_top1: by index in `archs`. The cells of other architectures are empty.
    """
    rows = [
        {name: " ".join(map(str, value)) for name, value in a.to_dict().items() if name in LISTS and value}
        | {"r": a.r, "top1": t, "int8_top1": int8_top1.get(i, np.nan)}
        for i, (a, t) in enumerate(zip(archs, top1, strict=True))
    ]
    files.write_bytes(path, pd.DataFrame(rows).to_csv(index=False).encode())


def read_accuracies(path: Path, column: str = "top1") -> tuple[list[Arch], np.ndarray]:
    """Reads a file written by `write_accuracies`: architectures and top-1 (n,).

    column: `int8_top1` is the accuracy of the int8 network, NaN where it was not measured.
    Raises ValueError, one line, if the file is missing or is not such a table.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(LISTS, str))
        names = [name for name in LISTS if name in table]
        lists = [[[float(number) for number in cell.split()] for cell in table[name]] for name in names]
        rows = zip(*lists, table["r"].tolist(), strict=True)
        archs = [Arch.from_dict(dict(zip((*names, "r"), row, strict=True))) for row in rows]
        return archs, table[column].to_numpy(dtype=float)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not a table of accuracies ({error})") from None
