"""Engine `evolution`: a search for any predictor, deterministic for a seed, with a fixed number of evaluations.

Once-for-All evolves one population with random mutation and crossover (appendix A). This engine does more:

* Each stratum (a resolution and a depth vector) starts with one network.
* All networks climb by Lagrangian steps along the predictor's slopes.
* The best networks of many strata are crossed over, and their children climb too.
* At the end the best are polished by exact changes of two units at once.

An evolutionary algorithm with local search is called memetic (Moscato, 1989).

With effort `high`, the most promising strata are then searched separately. Each round searches fewer strata for longer
(successive halving, Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943). The best networks lie in narrow basins. A
population of one stratum finds these basins; a population of all strata loses them. Not every single-stratum population finds
the narrowest basin, so several small populations are better than one large one.
"""

from dataclasses import dataclass

import numpy as np

from ofa_core.search.moves import climb, cross, exchange, move_depths, starts
from ofa_core.search.problem import Members, Problem

MUTATION = 0.15
"""Probability that a unit of a child is drawn at random."""
PAIRS = 150
"""Paired changes tried at a time with exact effects, when polishing."""
PAIRS_BY_SLOPES = 20
"""Paired changes tried at a time with effects from slopes."""
STRATUM_MUTATION = 0.1
"""The same as MUTATION, for a stratum that evolves separately."""
MOVED = 10
"""Members that are moved to other depths after each round."""
LEAST_GAIN = 1e-6
"""Polishing stops when the objective gains less than this."""
MOST_STARTS = 2000
"""Most strata to start from. If there are more, those with the best first network are kept."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """A step of successive halving: a separate population evolves in each of the best `strata`."""

    strata: int
    population: int
    """Members per stratum, and children per generation."""
    generations: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much the search tries."""

    population: int
    """Members kept from one generation to the next."""
    children: int
    """Children per generation."""
    generations: int
    per_stratum: int
    """Most members of one stratum in the population."""
    polished: int
    """Members polished by exact paired changes at the end."""
    rounds: tuple[Round, ...] = ()
    """Rounds of successive halving after the first population. Each round first evolves the best strata separately. It then
    moves the best members to other depths and crosses members of all strata, so that neighbouring strata share what they
    found."""


EFFORTS = {
    "normal": Settings(population=64, children=48, generations=22, per_stratum=2, polished=10),
    "high": Settings(
        population=256,
        children=96,
        generations=20,
        per_stratum=2,
        polished=40,
        rounds=(
            Round(strata=28, population=8, generations=2),
            Round(strata=10, population=20, generations=4),
            Round(strata=4, population=24, generations=7),
            *[Round(strata=2, population=28, generations=7)] * 3,
        ),
    ),
}
"""Upper limits with the official predictor on one core: normal 0.8 s and 28,000 evaluations, high 8.6 s and 335,000."""
PUBLISHED = Settings(population=100, children=100, generations=500, per_stratum=100, polished=0)
"""Settings of the engine `published`: those of the Once-for-All code."""
FRONT = Settings(population=32, children=24, generations=6, per_stratum=2, polished=2)
"""Settings for each of the many budgets along a Pareto front."""


def evolve(problem: Problem, settings: Settings, rng: np.random.Generator, known: Members | None = None) -> Members:
    """The best members found, best first. All of them keep the budget.

    known: members found for other budgets. They may exceed this budget.
    """
    best = _population(problem, settings, rng, known)
    for of_round in settings.rounds:
        strata = problem.select(best, of_round.strata, 1).stratum
        for stratum in strata:
            best = best.join(_stratum(problem, of_round, rng, stratum))
        moved = move_depths(problem, problem.select(best, MOVED, 2))
        best = best.join(_improve(problem, climb(problem, moved, (6, 2)), PAIRS_BY_SLOPES, exact=False))
        size = of_round.population
        best = best.join(_generations(problem, of_round, rng, problem.select(best, 2 * size, size // 4)))
    best = problem.select(best, settings.population, settings.population)
    best = best.join(_improve(problem, best.take(slice(0, settings.polished)), PAIRS, exact=True))
    return problem.select(best, settings.population, settings.population)


def _population(problem: Problem, settings: Settings, rng: np.random.Generator, known: Members | None) -> Members:
    """One population. It starts with a member of every stratum and the known members that keep the budget."""
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


def _stratum(problem: Problem, of_round: Round, rng: np.random.Generator, stratum: int) -> Members:
    """A population of one stratum, best first. It starts from random members only: known members would soon take it over."""
    size, units = of_round.population, len(problem.units)
    members = starts(problem, np.full(2 * size, stratum), rng)
    for _ in range(3):
        members = climb(problem, members, (units, 6))
    members = _improve(problem, problem.select(members, size, size), PAIRS_BY_SLOPES, exact=False, most=2)
    return _generations(problem, of_round, rng, problem.select(members, size, size))


def _generations(problem: Problem, of_round: Round, rng: np.random.Generator, members: Members) -> Members:
    """Members after all generations, best first. Every child climbs to a local optimum or close to one.

    Crossing such members finds narrow basins that descents from random members rarely reach.
    """
    size = of_round.population
    for _ in range(of_round.generations):
        children = cross(problem, members, size, STRATUM_MUTATION, rng)
        children = climb(problem, climb(problem, children, (6, 2)), (3, 2))
        children = _improve(problem, problem.select(children, size, size), PAIRS_BY_SLOPES, exact=False, most=2)
        members = problem.select(members.join(children), len(members.value), size)
    return members


def _improve(problem: Problem, members: Members, pairs: int, exact: bool, most: int | None = None) -> Members:
    """Members after paired changes, repeated while they help, at most `most` times.

    A change must gain more than rounding. The same network in another batch may differ in the last digit, and the loop would
    never end.
    """
    options, stratum, value = members.options.copy(), members.stratum, members.value.copy()
    left = np.arange(len(value))
    while len(left) and most != 0:
        better = exchange(problem, Members(options[left], stratum[left], value[left]), pairs, exact)
        gained = better.value > value[left] + LEAST_GAIN
        left, better = left[gained], better.take(gained)
        options[left], value[left] = better.options, better.value
        most = most and most - 1
    return Members(options, stratum, value)
