"""Slopes for a predictor that has none: a linear fit to its predictions of random sub-networks.

The features are the choices of all present genes, once alone and once times the resolution, so that the slopes of a choice
depend on the resolution. A little ridge makes the fit unique: the choices of a gene add up to one.
"""

from itertools import pairwise

import numpy as np

from ofa_core.predictor.features import present_genes
from ofa_core.search.problem import Problem, Slopes

SAMPLES = 600
"""Number of random sub-networks to fit to."""
RIDGE = 0.1


def linear_slopes(problem: Problem, rng: np.random.Generator) -> Slopes:
    """Slopes of the objective, the same for all architectures of one resolution. Counts `SAMPLES` evaluations."""
    genes, largest = problem.space.genes, problem.space.resolutions[-1]
    stratum = rng.integers(len(problem.resolution), size=SAMPLES)
    members = problem.evaluate(rng.integers(problem.sizes, size=(SAMPLES, len(problem.sizes))), stratum)
    codes, r = problem.codes(members.options, stratum), problem.resolution[stratum][:, None] / largest  # (n, genes), (n, 1)
    first = np.cumsum([0, *(len(gene.choices) for gene in genes)])
    x = np.zeros((SAMPLES, first[-1]))
    x[np.arange(SAMPLES)[:, None], first[:-1] + codes] = present_genes(problem.space, codes)
    design = np.concatenate([x, x * (r - 1), r, r**2], axis=1)
    design -= design.mean(0)
    weights = np.linalg.solve(
        design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ (members.value - members.value.mean())
    )
    alone, by_resolution = (np.zeros((len(genes), max(len(gene.choices) for gene in genes))) for _ in range(2))
    for gene, (start, end) in enumerate(pairwise(first)):
        alone[gene, : end - start] = weights[start:end]
        by_resolution[gene, : end - start] = weights[first[-1] + start : first[-1] + end]
    return lambda codes, resolutions: alone + (np.asarray(resolutions)[:, None, None] / largest - 1) * by_resolution
