"""How members of a search change: by Lagrangian steps over all units at once, by crossing over, and by paired changes.

A step takes the predicted effect of every option (from slopes, or exact) and its extra cost, and picks for each unit the option
with the largest effect minus price times cost; bisection finds the lowest price that keeps the budget. With additive effects
this is the Lagrangian relaxation of the multiple-choice knapsack problem (Kellerer, Pferschy, Pisinger: Knapsack Problems,
2004, chapter 11); effects of a network are additive near it only, so that steps may be limited to few units.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ofa_core.search.problem import Members, Problem

PRICES = (-6.0, 3.0)
"""Powers of ten between which the price of a whole budget lies."""
STICKINESS = 5e-4
"""What a repair pays, in units of the objective, for every unit that it changes."""


def lagrangian(
    problem: Problem,
    options: np.ndarray,
    stratum: np.ndarray,
    effects: np.ndarray,
    extra: np.ndarray,
    most: int,
    iterations: int = 11,
) -> np.ndarray:
    """Options (n, units) that keep the budget, changed in at most `most` units where that promises more.

    effects, extra (n, units, options): changes of value and of cost against `options`, which must keep the budget.
    """
    n, units = options.shape
    extra = extra / problem.limit
    low, high = np.full(n, PRICES[0]), np.full(n, PRICES[1])
    best = options
    for _ in range(iterations):
        middle = (low + high) / 2
        gain = np.where(problem.real, effects - (10**middle)[:, None, None] * extra, -np.inf)
        chosen = gain.argmax(2)
        if most < units:
            gained = np.take_along_axis(gain, chosen[:, :, None], 2)[:, :, 0]
            least = np.partition(gained, units - most, axis=1)[:, units - most, None]
            chosen = np.where((gained >= least) & (gained > 0), chosen, options)
        fits = problem.cost_of(chosen, stratum) <= problem.limit
        best = np.where(fits[:, None], chosen, best)
        high, low = np.where(fits, middle, high), np.where(fits, low, middle)
    return best


def climb(problem: Problem, members: Members, most: Sequence[int]) -> Members:
    """Each member, or the best of its Lagrangian steps over at most `most` units, where one is better."""
    if not len(members.value):
        return members
    options, stratum, value = members
    effects, extra = problem.effects(options, stratum), problem.extra_costs(options, stratum)
    for limit in most:
        step = problem.evaluate(lagrangian(problem, members.options, stratum, effects, extra, limit), stratum)
        better = step.value > value
        options, value = np.where(better[:, None], step.options, options), np.where(better, step.value, value)
    return Members(options, stratum, value)


def starts(problem: Problem, strata: np.ndarray, rng: np.random.Generator) -> Members:
    """A random member of each stratum that nearly uses the budget up."""
    options = problem.fastest[strata]
    random = 1e-3 * rng.random((len(strata), *problem.real.shape))
    extra = problem.extra_costs(options, strata)
    return problem.evaluate(lagrangian(problem, options, strata, random, extra, options.shape[1]), strata)


def cross(problem: Problem, parents: Members, count: int, mutation: float, rng: np.random.Generator) -> Members:
    """`count` children: the stratum of one parent, which the better are more often, and each unit of one of both.

    A unit is drawn anew with probability `mutation`. Children over the budget are repaired: the Lagrangian step from the
    fastest member that keeps as much of the child as the budget allows.
    """
    first = rng.integers(len(parents.value), size=(2, count)).min(0)  # parents stand best first
    second = rng.integers(len(parents.value), size=count)
    shape = (count, len(problem.sizes))
    options = np.where(rng.random(shape) < 0.5, parents.options[first], parents.options[second])
    options = np.where(rng.random(shape) < mutation, rng.integers(problem.sizes, size=shape), options)
    stratum = parents.stratum[first]
    over = np.flatnonzero(problem.cost_of(options, stratum) > problem.limit)
    if len(over):
        effects = problem.effects(options[over], stratum[over])
        np.put_along_axis(effects, options[over][:, :, None], STICKINESS, 2)
        fastest = problem.fastest[stratum[over]]
        effects = effects - np.take_along_axis(effects, fastest[:, :, None], 2)
        extra = problem.extra_costs(fastest, stratum[over])
        options[over] = lagrangian(problem, fastest, stratum[over], effects, extra, shape[1])
    return problem.evaluate(options, stratum)


def exchange(problem: Problem, members: Members, count: int, exact: bool) -> Members:
    """Each member, or the best of `count` changes of two units at once, where one is better.

    Tried are those whose two effects promise most and that keep the budget: one unit often pays for another.
    exact: the effects are those of all single changes, evaluated (and candidates as well), not slopes.
    """
    found = [_exchange_one(problem, members.take(slice(i, i + 1)), count, exact) for i in range(len(members.value))]
    return Members(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _exchange_one(problem: Problem, member: Members, count: int, exact: bool) -> Members:
    options, stratum = member.options, member.stratum
    extra = problem.extra_costs(options, stratum)[0]
    effects, best = problem.effects(options, stratum)[0] if not exact else None, member
    others = problem.real & problem.present[stratum[0]][:, None]
    others[np.arange(len(others)), options[0]] = False  # no change
    units, chosen = np.nonzero(others)
    room = problem.limit - problem.cost_of(options, stratum)[0]
    costs = extra[units, chosen]
    if effects is None:
        singles = problem.evaluate(*_changed(member, units[:, None], chosen[:, None]))
        gains = singles.value - member.value
        fitting = np.where(costs <= room, singles.value, -np.inf)
        if fitting.max() > best.value[0]:
            best = _within(problem, singles.take(np.array([fitting.argmax()])), best)
    else:
        gains = effects[units, chosen]
    first, second = _pairs(len(units))
    possible = (costs[first] + costs[second] <= room) & (units[first] != units[second])
    promise = np.where(possible, gains[first] + gains[second], -np.inf)
    top = np.argpartition(-promise, min(count, len(promise) - 1))[:count]
    top = top[np.isfinite(promise[top])]
    first, second = first[top], second[top]
    both = _changed(member, units[np.stack([first, second], 1)], chosen[np.stack([first, second], 1)])
    return _within(problem, problem.evaluate(*both), best)


def _within(problem: Problem, candidates: Members, best: Members) -> Members:
    """The best of the candidates that keep the budget and of `best`."""
    if not len(candidates.value):
        return best
    fits = problem.cost_of(candidates.options, candidates.stratum) <= problem.limit
    candidates = candidates.take(fits)
    if not len(candidates.value) or candidates.value.max() <= best.value[0]:
        return best
    return candidates.take(np.array([candidates.value.argmax()]))


def _changed(member: Members, units: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Options and strata of the member with other options in some units; units, chosen (n, changes)."""
    options = np.repeat(member.options, len(units), 0)
    options[np.arange(len(units))[:, None], units] = chosen
    return options, np.repeat(member.stratum, len(units))


@lru_cache(maxsize=16)
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(count, 1)
