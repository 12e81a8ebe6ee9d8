"""What a run has made: the released models as a table, and what to try next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ofa_core.run import files, paths

REPORT = paths.REPORTS / "compare/pareto.svg"


def models(out: Path) -> list[dict[str, Any]]:
    """The released uint8 models, fastest first: id, file, bytes, md5, top1, split, latency_ms, device, predicted_latency_ms."""
    keys = ("top1", "split", "latency_ms", "device", "predicted_latency_ms", "predicted_device")
    rows = []
    for entry in files.read_json(out / paths.RELEASE / "manifest.json")["models"]:
        file = entry["files"]["uint8"]
        row = {
            "id": entry["id"],
            "file": file["name"],
            "bytes": file["bytes"],
            "md5": file["md5"],
            "input": entry["input"]["size"],
        }
        rows.append(row | {key: entry["metrics"].get(key) for key in keys})
    return sorted(rows, key=lambda row: row["latency_ms"] or 0.0)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models as lines; the head says on which split top-1 was counted, and what was timed."""
    head = ["model", "input", "size", f"top-1 on {rows[0]['split']}", "latency", "predicted", "MD5"]
    cells = [head]
    for row in rows:
        predicted = row["predicted_latency_ms"]
        cells.append(
            [
                row["file"],
                "x".join(map(str, row["input"])),
                f"{row['bytes'] / 1024:.0f} KiB",
                f"{row['top1']:.1%}",
                f"{row['latency_ms']:.3g} ms",
                "" if predicted is None else f"{predicted:.3g} ms, {row['predicted_device']}",
                row["md5"],
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return [*lines, f"latency measured on {rows[0]['device']}"]


def following(out: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where things lie, and commands to try."""
    model = out / paths.RELEASE / str(rows[0]["file"])
    return [
        f"release  {out / paths.RELEASE}",
        f"report   {out / REPORT}",
        f"try      ofa predict {model} PHOTO",
        f"         ofa verify {out / paths.RELEASE}",
        f"         ofa bench {model}",
    ]
