"""The evolution of the Once-for-All paper (appendix A) and code, on arrays.

The population starts at random. The best quarter become parents. Half of the children are mutated, half are crossed over, and
all keep the budget. One difference: a child is the first of a few tries that fits, or else a parent. The published code retries
until a child fits.
"""

import numpy as np

from ofa_core.search.moves import TRIES, random_members
from ofa_core.search.problem import Members, Problem

PARENTS, MUTATION, RESOLUTION_MUTATION = 0.25, 0.1, 0.5


def published_evolution(problem: Problem, population: int, generations: int, rng: np.random.Generator) -> Members:
    """The last population, best first. Takes population * (generations + 1) evaluations."""
    members = random_members(problem, population, rng)
    for _ in range(generations):
        members = members.take(np.argsort(-members.value, kind="stable"))
        parents = members.take(slice(0, max(2, round(PARENTS * population))))
        members = parents.join(problem.evaluate(*_children(problem, parents, population, rng)))
    return problem.select(members, population, population)


def _children(problem: Problem, parents: Members, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mutated children, then crossed-over ones: options (count, units) and strata (count,)."""
    first, second = rng.integers(len(parents.value), size=(2, TRIES * count))
    mutated = np.tile(np.arange(count) < count // 2, TRIES)
    options, stratum = parents.options[first], parents.stratum[first]
    rate: np.ndarray = np.where(mutated, MUTATION, 0.5)
    drawn = rng.integers(problem.sizes, size=options.shape)
    other = np.where(mutated[:, None], drawn, parents.options[second])
    options = np.where(rng.random(options.shape) < rate[:, None], other, options)
    other_stratum = np.where(mutated, rng.integers(len(problem.resolution), size=len(first)), parents.stratum[second])
    change = rng.random(len(first)) < rate
    stratum = np.where(change, other_stratum, stratum)
    fits = (problem.cost_of(options, stratum) <= problem.limit).reshape(TRIES, count)
    row = fits.argmax(0) * count + np.arange(count)  # the first try that fits
    ok = np.asarray(fits.any(0))
    options = np.where(ok[:, None], options[row], parents.options[first[:count]])
    return options, np.where(ok, stratum[row], parents.stratum[first[:count]])
