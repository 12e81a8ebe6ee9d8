"""Measured accuracies of sampled sub-networks: the training data of the accuracy predictor."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.nn.network import SuperNetwork
from ofa_core.training.evaluation import Evaluator


def sample_archs(net: SuperNetwork, count: int, seed: int) -> list[Arch]:
    """`count` different architectures: the two extremes at every resolution, then random ones, resolutions in turn."""
    space, rng = net.space, np.random.default_rng([seed, 2])
    archs = [extreme for r in space.resolutions for extreme in (space.smallest(r), space.largest(r))]
    while len(archs) < count:
        drawn = space.sample(rng)
        arch = Arch(drawn.ks, drawn.e, drawn.d, space.resolutions[len(archs) % len(space.resolutions)], drawn.w)
        if arch not in archs:
            archs.append(arch)
    return archs[:count]


def collect(net: SuperNetwork, evaluator: Evaluator, archs: list[Arch]) -> list[float]:
    """Validation top-1 (0..1) of each architecture, with batch norm statistics of its own."""
    return [evaluator.top1(net, arch) for arch in tqdm(archs, desc="accuracies", unit="net", mininterval=1)]


def write_accuracies(path: Path, archs: list[Arch], top1: list[float]) -> None:
    """Writes csv: ks, e, d (numbers with spaces between), r in pixels, top1 in 0..1."""
    rows = [
        {name: " ".join(map(str, value)) for name, value in (("ks", a.ks), ("e", a.e), ("d", a.d)) if value}
        | {"r": a.r, "top1": t}
        for a, t in zip(archs, top1, strict=True)
    ]
    files.write_bytes(path, pd.DataFrame(rows).to_csv(index=False).encode())


def read_accuracies(path: Path) -> tuple[list[Arch], np.ndarray]:
    """Reads what `write_accuracies` wrote: architectures and top-1 (n,). Raises ValueError, one line, for a foreign file."""
    try:
        table = pd.read_csv(path, dtype={"ks": str, "e": str, "d": str})
        lists = {name: [tuple(int(n) for n in cell.split()) for cell in table[name]] for name in ("ks", "e", "d")}
        rows = zip(lists["ks"], lists["e"], lists["d"], table["r"].tolist(), strict=True)
        archs = [Arch(ks, e, d, r) for ks, e, d, r in rows]
        return archs, table["top1"].to_numpy(dtype=float)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not a table of accuracies ({error})") from None
