"""What the stage `examine` says of a data set: a report of suspicious labels, and a sheet that shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ofa_core.examine.labels import suspicious_labels
from ofa_core.sheets.sheet import Cell, contact_sheet

LISTED, PICTURED = 200, 24
"""Most labels in the report, and on the sheet."""


def examine(
    images: Any,
    labels: np.ndarray,
    classes: Sequence[str],
    features: np.ndarray,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], bytes | None]:
    """A report (JSON) of suspicious labels, most probable errors first, and a contact sheet (PNG), or None if there are none.

    images: uint8 (N, H, W, 1 or 3), an array or shards, indexed by arrays of int. labels: int64 (N,). classes: their names.
    features: float (N, D), of a pretrained network. names: of the images; without them the report has their indices.

    Raises InputError like `suspicious_labels`.
    """
    found = suspicious_labels(features, labels, seed)
    titles = [str(i) if names is None else names[i] for i in found.indices]
    entries = [
        {
            "image": title,
            "given": classes[labels[i]],
            "suggested": classes[suggested],
            "wrong": round(float(wrong), 2),
        }
        for title, i, suggested, wrong in zip(titles, found.indices, found.suggested, found.wrong, strict=True)
    ]
    report = {
        "suspicious_labels": len(entries),
        "expected_wrong": round(float(found.wrong.sum())),
        "top1": round(found.top1, 4),
        "labels": entries[:LISTED],
    }
    if not entries:
        return report, None
    pictures = images[found.indices[:PICTURED]]
    cells = [
        Cell([_picture(pixels)], [entry["image"], f"given: {entry['given']}", f"like: {entry['suggested']} ({entry['wrong']})"])
        for pixels, entry in zip(pictures, entries, strict=False)
    ]
    return report, contact_sheet(cells)


def _picture(pixels: np.ndarray) -> Image.Image:
    """An image uint8 (H, W, 1 or 3)."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
