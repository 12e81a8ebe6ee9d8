"""Architectures as numbers for a predictor: one-hot choices, zero where the depth skips the block, and the resolution."""

import numpy as np

from ofa_core.space import Space

RESOLUTION_UNIT = 32.0
"""Pixels that count as one unit of the resolution's feature."""


def encode_features(space: Space, codes: np.ndarray, resolutions: np.ndarray) -> dict[str, np.ndarray]:
    """Features by kind of choice: the fields of `Arch` the space has, each (n, features of the field), and r (n, 1).

    codes (n, genes), resolutions (n,) as `space.encode` returns them. The resolution is a number, not a class, so that
    predictions reach beyond the resolutions of the training data.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for gene, present, choice in zip(space.genes, present_genes(space, codes).T, codes.T, strict=True):
        one_hot = choice[:, None] == np.arange(len(gene.choices))  # (n, choices)
        columns.setdefault(gene.field, []).append(one_hot & present[:, None])
    features = {field: np.concatenate(parts, axis=1).astype(float) for field, parts in columns.items()}
    return features | {"r": (resolutions[:, None] - space.resolutions[-1]) / RESOLUTION_UNIT}


def present_genes(space: Space, codes: np.ndarray) -> np.ndarray:
    """Which genes matter, bool (n, genes): False for those of blocks that the depth leaves out."""
    present = np.ones(codes.shape, dtype=bool)
    optional: dict[int, np.ndarray] = {}
    always: set[int] = set()
    for slot in space.slots:
        if slot.depth is None:
            always.update(slot.genes)
            continue
        column, least = slot.depth
        exists = np.array(space.genes[column].choices)[codes[:, column]] >= least
        for gene in slot.genes:
            optional[gene] = optional.get(gene, np.zeros(len(codes), dtype=bool)) | exists
    for gene, exists in optional.items():
        if gene not in always:
            present[:, gene] = exists
    return present
