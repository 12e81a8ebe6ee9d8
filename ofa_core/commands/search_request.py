"""A request of `ofa search`: any number of tables and budgets in one run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ofa_core.latency.table import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.official import is_official, official_space
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.search.additive_cost import UNITS, AdditiveCost
from ofa_core.search.budget import Budget
from ofa_core.search.fleet import Fleet, Target, check_budgets
from ofa_core.search.targets import describe
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `ofa search`.

    space, width_mult: None: those of the predictor. tables: latency tables as PATH or NAME=PATH; empty for MACs and parameters.
    quantity, limits: one of `search.additive_cost.UNITS`, and the budgets. resolutions: None: those of the table or space.
    """

    predictor: Path
    quantity: str
    limits: Sequence[float]
    tables: Sequence[str] = ()
    space: str | None = None
    width_mult: float | None = None
    resolutions: Sequence[int] | None = None
    seed: int = 0
    effort: str = "normal"
    deviations: float = 0.0
    candidates: int = 1
    num_classes: int = 1000


def answer(
    request: Request, front: Path | None = None, progress: Callable[[Sequence[Any]], Any] = list
) -> list[dict[str, Any]]:
    """The best network for every device and budget, as JSON values. front: a csv of the Pareto fronts to write.

    Raises InputError, one line, for anything wrong with the request or a file.
    """
    if request.candidates < 1:
        raise InputError(f"--candidates: {request.candidates} is less than 1")
    if not request.predictor.is_file():
        raise InputError(f"{request.predictor}: no such file")
    published = is_official(request.predictor)  # takes seconds to load; an impossible budget should not wait for it
    space = official_space() if published else AccuracyPredictor.load(request.predictor).space
    if request.space is not None or request.width_mult is not None:
        name = request.space or space.name
        given = get_space(name, request.width_mult)
        if given.genes != space.genes:
            raise InputError(f"--space: {name}: {request.predictor} is for {space.name}")
        space = given
    tables = dict(map(_named, request.tables))
    if request.quantity == "latency_ms" and not tables:
        raise InputError("--table: missing; a budget in ms needs a latency table")
    if len(tables) < len(request.tables):
        raise InputError("--table: two of the same name")
    devices = {name: LatencyTable.load(path) for name, path in tables.items()}
    costs = _costs(request, space, devices)
    targets = {
        f"{device} {Budget(quantity=request.quantity, limit=limit)}".strip(): Target(device=device, limit=limit)
        for device in costs
        for limit in request.limits
    }
    check_budgets(space, costs, targets)
    fleet = Fleet(space, AccuracyPredictor.load(request.predictor), costs, request.seed, request.deviations)
    found = fleet.search(targets, request.effort, request.candidates, progress)
    rows = []
    for name, compared in found.items():
        head = {"device": targets[name].device, "budget": targets[name].limit, "quantity": request.quantity}
        macs, params = space.cost(compared.found.arch, request.num_classes)
        rows.append(head | describe(compared) | {"cost": compared.found.cost, "macs": macs, "params": params})
    if front is not None:
        files.write_bytes(front, fleet.front(progress=progress).to_csv(index=False, float_format="%.6g").encode())
    return rows


def text(rows: list[dict[str, Any]]) -> str:
    """The result of `answer` as a table, then the architectures."""
    unit = UNITS[rows[0]["quantity"]]
    shown = [
        {
            "device": row["device"],
            f"budget ({unit})": f"{row['budget']:g}",
            f"predicted ({unit})": f"{row['cost']:.4g}" if unit == "ms" else f"{row['cost']:.0f}",
            "top-1": f"{row['predicted_top1']:.2%}",
            "random search": f"{row['random_search_top1']:.2%}",
            "r": row["arch"]["r"],
            "M MACs": f"{row['macs'] / 1e6:.0f}",
            "evaluations": row["evaluations"],
        }
        for row in rows
    ]
    lines = [pd.DataFrame(shown).to_string(index=False), ""]
    for row in rows:
        arch = row["arch"]
        genes = " ".join(f"{field} {arch[field]}" for field in ("d", "ks", "e", "w") if arch.get(field) is not None)
        lines.append(f"{row['device']} {row['budget']:g} {unit}: r {arch['r']} {genes}")
    return "\n".join(lines)


def _named(argument: str) -> tuple[str, Path]:
    name, equals, path = argument.partition("=")
    return (name, Path(path)) if equals else (Path(argument).stem, Path(argument))


def _costs(request: Request, space: Space, devices: dict[str, LatencyTable]) -> dict[str, AdditiveCost]:
    """By device. A budget of MACs or parameters has no device and the empty name."""
    if request.quantity != "latency_ms":
        resolutions = request.resolutions or space.resolutions
        budget = Budget(quantity=request.quantity, limit=1)
        return {"": budget.cost(space, None, resolutions, request.num_classes)}
    costs = {}
    for name, table in devices.items():
        budget = Budget(quantity="latency_ms", limit=1)
        try:
            costs[name] = budget.cost(space, table, request.resolutions or table.resolutions)
        except KeyError as error:
            raise InputError(f"--table: {name}: {error.args[0]}") from None
    return costs
