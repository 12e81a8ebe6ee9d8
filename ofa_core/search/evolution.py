"""Engine `evolution`: a search for any predictor, deterministic by seed, in a number of evaluations fixed beforehand.

Once-for-All evolves one population with random mutation and crossover (appendix A). Here each resolution and depth vector
(stratum) starts with one network; all climb by Lagrangian steps along the predictor's slopes; the best of many strata are
crossed over, their children climb as well; and the best are polished by exact changes of two units at once. An evolutionary
algorithm with local search is called memetic (Moscato, 1989).
"""

from dataclasses import dataclass

import numpy as np

from ofa_core.search.moves import climb, cross, exchange, starts
from ofa_core.search.problem import Members, Problem

MUTATION = 0.15
"""Probability that a unit of a child is drawn anew."""
PAIRS = 150
"""Exact paired changes tried at a time when polishing, and by slopes:"""
PAIRS_BY_SLOPES = 20
LEAST_GAIN = 1e-6
"""Of the objective, for polishing to go on."""
MOST_STARTS = 2000
"""Strata that start; of more (many resolutions), those whose first network is best go on."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is tried."""

    population: int
    """Members kept from one generation to the next."""
    children: int
    """In each generation."""
    generations: int
    per_stratum: int
    """Members of one stratum in the population, at most."""
    polished: int
    """Members that exact paired changes are tried on, at the end."""
    islands: int = 1
    """Independent populations, polished together."""


EFFORTS = {
    "normal": Settings(population=64, children=48, generations=22, per_stratum=2, polished=10),
    "high": Settings(population=400, children=256, generations=40, per_stratum=8, polished=40, islands=2),
}
"""With the official predictor on one core: up to 0.8 s and 28,000 evaluations, and 8 s and 290,000."""
PUBLISHED = Settings(population=100, children=100, generations=500, per_stratum=100, polished=0)
"""Those of Once-for-All, for the engine `published`."""
FRONT = Settings(population=32, children=24, generations=6, per_stratum=2, polished=2)
"""For one of the many budgets along a Pareto front."""


def evolve(problem: Problem, settings: Settings, rng: np.random.Generator, known: Members | None = None) -> Members:
    """The best members found, best first; all keep the budget.

    known: members found for other budgets, which may be over this one's.
    """
    best = _population(problem, settings, rng, known)
    for _ in range(1, settings.islands):
        best = best.join(_population(problem, settings, rng, known))
    best = problem.select(best, settings.population, settings.population)
    for i in range(min(settings.polished, len(best.value))):
        best = best.join(_polish(problem, best.take(slice(i, i + 1))))
    return problem.select(best, settings.population, settings.population)


def _population(problem: Problem, settings: Settings, rng: np.random.Generator, known: Members | None) -> Members:
    """One population, begun with a member of every stratum and the known members that keep the budget."""
    members = problem.select(starts(problem, np.arange(len(problem.resolution)), rng), MOST_STARTS, 1)
    for _ in range(3):
        members = climb(problem, members, (members.options.shape[1], 6))
    if known is not None:
        members = members.join(known.take(problem.cost_of(known.options, known.stratum) <= problem.limit))
    members = problem.select(members, settings.population, settings.per_stratum)
    for _ in range(3):
        members = climb(problem, members, (6, 2))
    for generation in range(settings.generations):
        children = cross(problem, members, settings.children, MUTATION, rng)
        children = climb(problem, climb(problem, children, (6, 2)), (3, 2))
        members = problem.select(members.join(children), settings.population, settings.per_stratum)
        if generation % 5 == 4:
            best = members.take(slice(0, settings.population // 4))
            members = members.join(exchange(problem, best, PAIRS_BY_SLOPES, exact=False))
            members = problem.select(members, settings.population, settings.per_stratum)
    return members


def _polish(problem: Problem, member: Members) -> Members:
    """The member after exact paired changes, as long as they help.

    By more than rounding: the same network in another batch may have another last digit, and would be gone back to for ever.
    """
    while True:
        better = exchange(problem, member, PAIRS, exact=True)
        if better.value[0] <= member.value[0] + LEAST_GAIN:
            return member
        member = better
