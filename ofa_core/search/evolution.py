"""The search: an evolution for any predictor, deterministic for a seed, with a fixed number of evaluations.

Once-for-All evolves one population with random mutation and crossover (appendix A). This search differs in two ways:

* Every network climbs: by Lagrangian steps along the predictor's slopes, then by paired changes, where one unit pays for
  another. An evolutionary algorithm with local search is called memetic (Moscato, 1989).
* Populations evolve apart, on islands: one per resolution, then one per stratum (a resolution and a depth vector). Each round
  goes on with fewer islands (successive halving, Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943). The best
  networks lie in narrow basins. One population of everything loses them to the first good network.
"""

from dataclasses import dataclass

import numpy as np

from ofa_core.search.moves import climb, cross, exchange, move_depths, starts
from ofa_core.search.problem import Islands, Members, Problem

PAIRS = 150
"""Paired changes tried at a time with exact effects, when polishing."""
PAIRS_BY_SLOPES = 20
"""Paired changes tried at a time with effects from slopes."""
LEAST_GAIN = 1e-6
"""Polishing stops when the objective gains less than this."""
MOST_STARTS = 2000
"""Most strata to start from. If there are more, those with the best first network are kept."""
STARTS_PER_RESOLUTION = 60
"""Strata of each resolution whose first network joins the first population."""
STORED = 500
"""Most members kept between rounds."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Populations that evolve apart."""

    islands: Islands
    """What the members of one population share."""
    count: int
    """Islands that go on: those with the best members so far."""
    population: int
    """Members per island."""
    per_stratum: int
    """Most members of one stratum on an island."""
    children: int
    """Children per island and generation. The better half climbs on by paired changes."""
    generations: int
    moved: int = 0
    """Best members that first also move to every neighbouring stratum, so that strata share what they found."""
    anew: bool = False
    """Each stratum starts from random members: known ones would soon take it over. Otherwise from the members so far."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much the search tries."""

    rounds: tuple[Round, ...]
    mutation: float
    """Probability that a unit of a child is drawn at random."""
    polished: int
    """Members polished by exact paired changes at the end."""


def _resolutions(count: int, per_stratum: int, children: int, generations: int, population: int = 40, moved: int = 0) -> Round:
    return Round(islands="resolution", count=count, population=population, per_stratum=per_stratum,
                 children=children, generations=generations, moved=moved)  # fmt: skip


def _strata(count: int, population: int, generations: int, anew: bool = False) -> Round:
    return Round(islands="stratum", count=count, population=population, per_stratum=population,
                 children=population, generations=generations, anew=anew)  # fmt: skip


EFFORTS = {
    "normal": Settings(
        rounds=(_resolutions(3, 4, 20, 5), _resolutions(2, 8, 24, 4), _strata(4, 14, 4)), mutation=0.02, polished=6
    ),
    "high": Settings(
        rounds=(
            _resolutions(3, 4, 40, 6, population=60),
            _strata(28, 12, 3, anew=True),
            _resolutions(3, 8, 64, 5, population=60, moved=10),
            _strata(10, 28, 6, anew=True),
            _resolutions(2, 12, 64, 5, population=80, moved=10),
            *[_strata(3, 28, 8, anew=True), _resolutions(2, 24, 64, 6, population=80, moved=10)] * 5,
        ),
        mutation=0.15,
        polished=40,
    ),
}
FRONT = Settings(rounds=(_resolutions(3, 2, 16, 3, population=24),), mutation=0.02, polished=2)
"""Settings for each of the many budgets along a Pareto front."""


def evolve(problem: Problem, settings: Settings, rng: np.random.Generator, known: Members | None = None) -> Members:
    """The best distinct members found, best first. All of them keep the budget.

    known: members found for other budgets. They may exceed this budget.
    """
    members = problem.select(starts(problem, np.arange(len(problem.resolution)), rng), MOST_STARTS, 1)
    for _ in range(2):
        members = problem.best_of(climb(problem, members, (len(problem.units), 6)), "resolution", STARTS_PER_RESOLUTION)
    members = _improve(problem, members, PAIRS_BY_SLOPES, exact=False, most=1)
    if known is not None:
        members = members.join(known.take(problem.cost_of(known.options, known.stratum) <= problem.limit))
    for of_round in settings.rounds:
        members = problem.select(members.join(_evolved(problem, of_round, settings.mutation, rng, members)), STORED, STORED)
    polished = _improve(problem, members.take(slice(0, settings.polished)), PAIRS, exact=True)
    return problem.select(members.join(polished), STORED, STORED)


def _evolved(problem: Problem, of_round: Round, mutation: float, rng: np.random.Generator, members: Members) -> Members:
    """The populations of a round after all generations."""
    key = problem.key_of(members, of_round.islands)
    order = np.argsort(-members.value, kind="stable")
    islands = list(dict.fromkeys(key[order].tolist()))[: of_round.count]
    members = members.take(np.isin(key, islands))
    if of_round.anew:
        members = starts(problem, np.repeat(islands, 2 * of_round.population), rng)
        for _ in range(3):
            members = climb(problem, members, (len(problem.units), 6))
        members = problem.best_of(members, of_round.islands, of_round.population)
        members = _improve(problem, members, PAIRS_BY_SLOPES, exact=False, most=1)
    if of_round.moved:
        moved = climb(problem, move_depths(problem, problem.select(members, of_round.moved, 2)), (6, 2))
        members = members.join(_improve(problem, moved, PAIRS_BY_SLOPES, exact=False))
    for _ in range(of_round.generations):
        members = problem.select(members, len(members.value), of_round.per_stratum)
        members = problem.best_of(members, of_round.islands, of_round.population)
        children = cross(problem, members, problem.key_of(members, of_round.islands), of_round.children, mutation, rng)
        children = climb(problem, climb(problem, children, (6, 2)), (3, 2))
        children = problem.best_of(children, of_round.islands, of_round.children // 2)
        members = members.join(_improve(problem, children, PAIRS_BY_SLOPES, exact=False, most=1))
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
