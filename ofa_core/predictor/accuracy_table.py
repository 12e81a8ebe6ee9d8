"""The table of measured accuracies that predictors are fitted to."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ofa_core.run import files
from ofa_core.space.arch import Arch


def write_accuracies(path: Path, archs: list[Arch], top1: list[float], int8_top1: Mapping[int, float] = {}) -> None:
    """Writes csv: ks, e, d (numbers with spaces between), r in pixels, top1 and int8_top1 in 0..1.

    int8_top1: by place in `archs`; the cells of others are empty.
    """
    rows = [
        {name: " ".join(map(str, value)) for name, value in (("ks", a.ks), ("e", a.e), ("d", a.d)) if value}
        | {"r": a.r, "top1": t, "int8_top1": int8_top1.get(i, np.nan)}
        for i, (a, t) in enumerate(zip(archs, top1, strict=True))
    ]
    files.write_bytes(path, pd.DataFrame(rows).to_csv(index=False).encode())


def read_accuracies(path: Path, column: str = "top1") -> tuple[list[Arch], np.ndarray]:
    """Reads what `write_accuracies` wrote: architectures and top-1 (n,). Raises ValueError, one line, for a foreign file.

    column: `int8_top1` is the accuracy of the int8 network; NaN where it was not measured.
    """
    try:
        table = pd.read_csv(path, dtype={"ks": str, "e": str, "d": str})
        lists = {name: [tuple(int(n) for n in cell.split()) for cell in table[name]] for name in ("ks", "e", "d")}
        rows = zip(lists["ks"], lists["e"], lists["d"], table["r"].tolist(), strict=True)
        archs = [Arch(ks, e, d, r) for ks, e, d, r in rows]
        return archs, table[column].to_numpy(dtype=float)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not a table of accuracies ({error})") from None
