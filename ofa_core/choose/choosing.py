"""The choice of a target's network among the candidates of a search, from what was measured of them.

Of twenty networks with nearly equal accuracy, the one with the highest measured top-1 is mostly the luckiest. So the accuracy
predictor is fitted again, with the candidates' measurements added, and its predictions for them are compared. The mean of a
Gaussian process at a measured point is that point's measurement and what all others say about it, weighted by their variances
(Rasmussen and Williams 2006, equation 2.25), so an accuracy that came by luck counts as little as it should.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.fitting import fit_predictors
from ofa_core.predictor.params import PredictorTarget
from ofa_core.space.arch import Arch

Found = Mapping[str, Mapping[str, Any]]
"""Results of the search by target, as in its files."""
COLUMNS = ("top1", "int8_top1", "cross_entropy")
REPORTED = ("rank", "budget_ms", "predicted_latency_ms", "measured_latency_ms", "predicted_top1", "measured_top1",
            "measured_int8_top1", "expected_top1")  # fmt: skip
NOT_CHOSEN = ("candidates", "predicted_top1_low", "predicted_top1_high")
"""Fields of a search result that hold for its own best network only."""


def candidates(found: Found, device: str | None = None) -> list[Arch]:
    """The distinct candidates of all targets, or of those of one device, in order."""
    chosen = [result for result in found.values() if device in (None, result["device"])]
    return list(dict.fromkeys(Arch.from_dict(row["arch"]) for result in chosen for row in result["candidates"]))


def choose(
    found: Found,
    known: Accuracies,
    measured: Accuracies,
    latencies: Mapping[str, Mapping[Arch, float]],
    target: PredictorTarget,
    tolerance: float,
) -> dict[str, dict[str, Any]]:
    """The chosen network of each target, as JSON-ready values: those of the search for it, and what was measured.

    known: the measurements of which the search knew. measured: those of the candidates. latencies: measured ones in
    milliseconds, by device; a device that is missing was not asked, and predicted latencies count.

    The choice is the candidate with the highest expected top-1 of those whose latency is at most the budget times
    1 + tolerance; without any, the fastest candidate. Expected top-1 is that of the predictor fitted to all measurements; with
    the search objective int8_top1, of the int8 predictor.
    """
    predictors = fit_predictors(known.extended(measured), target)
    rows = {arch: i for i, arch in enumerate(measured.archs)}
    results = {}
    for name, result in found.items():
        archs = [Arch.from_dict(row["arch"]) for row in result["candidates"]]
        objective = "int8_top1" if result["objective"] == "int8_top1" else "top1"
        expected, ms = predictors[objective].predict(archs), latencies.get(result["device"])
        table = []
        for rank, (row, arch, top1) in enumerate(zip(result["candidates"], archs, expected, strict=True), 1):
            values = {f"measured_{column}": float(measured.values[column][rows[arch]]) for column in COLUMNS}
            table.append(
                {"rank": rank, **row, **{key: value for key, value in values.items() if not np.isnan(value)}}
                | {"measured_latency_ms": None if ms is None else ms[arch], "expected_top1": float(top1), "chosen": False}
            )
        best = _best(table, result["budget_ms"] * (1 + tolerance))
        best["chosen"] = True
        head = {key: value for key, value in result.items() if key not in NOT_CHOSEN}
        results[name] = head | {key: best[key] for key in best if key != "chosen"} | {"candidates": table}
    return results


def _best(table: Sequence[dict[str, Any]], limit_ms: float) -> dict[str, Any]:
    allowed = [row for row in table if latency(row) <= limit_ms]
    if not allowed:
        return min(table, key=latency)
    return max(allowed, key=lambda row: (row["expected_top1"], -latency(row)))


def latency(row: Mapping[str, Any]) -> float:
    """The latency of a candidate in milliseconds: measured, or else predicted."""
    return row["predicted_latency_ms"] if row["measured_latency_ms"] is None else row["measured_latency_ms"]


def table_of(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """All candidates: target, rank in the search, predicted, measured and expected values, and whether it was chosen."""
    tables = [pd.DataFrame(result["candidates"]).assign(target=name) for name, result in results.items()]
    return pd.concat(tables).drop(columns="arch").set_index("target").reset_index()


def summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The report by target: the choice's rank in the search and its values, and how well all candidates were predicted.

    latency: "measured", or "predicted" where there was no device to ask.
    """
    report = {}
    for name, result in results.items():
        table = pd.DataFrame(result["candidates"])
        found = {key: result[key] for key in REPORTED if result.get(key) is not None}
        measured = table["measured_int8_top1" if "measured_int8_top1" in table else "measured_top1"]
        found |= {
            "candidates": len(table),
            "rmse_points": float(100 * ((table["predicted_top1"] - measured) ** 2).mean() ** 0.5),
        }
        if "measured_latency_ms" in found:
            ratios = table["predicted_latency_ms"] / table["measured_latency_ms"].astype(float)
            found["mape"] = float((ratios - 1).abs().mean())
        report[name] = found | {"latency": "measured" if "mape" in found else "predicted"}
    return report
