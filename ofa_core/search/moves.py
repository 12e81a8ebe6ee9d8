"""Moves of the search: Lagrangian steps over all units at once, crossover, and paired changes.

A Lagrangian step takes the effect of every option (exact, or predicted from slopes) and its extra cost. For each unit it picks
the option with the largest effect minus price times cost. Bisection finds the lowest price that keeps the budget. With additive
effects this is the Lagrangian relaxation of the multiple-choice knapsack problem (Kellerer, Pferschy, Pisinger: Knapsack
Problems, 2004, chapter 11). Effects are additive only near a network, so a step can be limited to a few units.
"""

from collections.abc import Sequence

import numpy as np

from ofa_core.search.problem import Members, Problem

PRICES = (-6.0, 3.0)
"""Range of the price of a whole budget, as powers of ten."""
TRIES = 6
"""How often a random member is drawn before the fastest of its stratum takes its place."""
STICKINESS = 5e-4
"""Penalty of a repair for each unit that it changes, in units of the objective."""


def lagrangian(
    problem: Problem,
    options: np.ndarray,
    stratum: np.ndarray,
    effects: np.ndarray,
    extra: np.ndarray,
    most: int,
    iterations: int = 11,
) -> np.ndarray:
    """Options (n, units) that keep the budget, changed in up to `most` units where that promises a gain.

    effects, extra (n, units, options): changes of value and cost against `options`. `options` must keep the budget.
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
    """Each member, or the best of its Lagrangian steps if that is better. Each entry of `most` limits the units of one step."""
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
    """A random member of each stratum that almost uses up the budget."""
    options = problem.fastest[strata]
    random = 1e-3 * rng.random((len(strata), *problem.real.shape))
    extra = problem.extra_costs(options, strata)
    return problem.evaluate(lagrangian(problem, options, strata, random, extra, options.shape[1]), strata)


def random_members(problem: Problem, count: int, rng: np.random.Generator) -> Members:
    """Random members within the budget. Each is mixed with the fastest member of its stratum until it fits."""
    stratum = rng.integers(len(problem.resolution), size=count)
    options, unit = problem.fastest[stratum], np.arange(count)
    for _ in range(TRIES):
        drawn = rng.integers(problem.sizes, size=options[unit].shape)
        keep = rng.random(drawn.shape) < rng.random((len(unit), 1))
        tried = np.where(keep, problem.fastest[stratum[unit]], drawn)
        fits = problem.cost_of(tried, stratum[unit]) <= problem.limit
        options[unit[fits]] = tried[fits]
        unit = unit[~fits]
        if not len(unit):
            break
    return problem.evaluate(options, stratum)


def cross(
    problem: Problem, parents: Members, island: np.ndarray, count: int, mutation: float, rng: np.random.Generator
) -> Members:
    """`count` children on each island. A child takes each depth and each unit from either parent, and its resolution too.

    island (n,): of the parents. Better members are more often the first parent. A unit is drawn at random with probability
    `mutation`. Children over the budget are repaired.
    """
    order = np.lexsort((-parents.value, island))
    parents, (_, start, size) = parents.take(order), np.unique(island[order], return_index=True, return_counts=True)
    start, size = np.repeat(start, count), np.repeat(size, count)
    first = start + (size * rng.random((2, len(size))).min(0)).astype(int)
    second = start + (size * rng.random(len(size))).astype(int)
    shape = (len(first), len(problem.sizes))
    options = np.where(rng.random(shape) < 0.5, parents.options[first], parents.options[second])
    options = np.where(rng.random(shape) < mutation, rng.integers(problem.sizes, size=shape), options)
    depths, other = problem.depths[parents.stratum[first]], problem.depths[parents.stratum[second]]
    depths = np.where(rng.random(depths.shape) < 0.5, depths, other)
    stratum = problem.strata_of(depths, problem.resolution[parents.stratum[first]])
    return _repaired(problem, options, np.where(stratum < 0, parents.stratum[first], stratum))


def move_depths(problem: Problem, members: Members) -> Members:
    """Each member moved to every stratum that differs by one step of one depth, changed only as far as the budget demands."""
    steps = np.abs(problem.depths[:, None] - problem.depths[members.stratum]).sum(2)  # (strata, n)
    stratum, member = np.nonzero((steps == 1) & (problem.resolution[:, None] == problem.resolution[members.stratum]))
    return _repaired(problem, members.options[member], stratum)


def _repaired(problem: Problem, options: np.ndarray, stratum: np.ndarray) -> Members:
    """Members for options (n, units).

    One over the budget is replaced: a Lagrangian step from the fastest member keeps as much of it as the budget allows.
    """
    options, over = options.copy(), np.flatnonzero(problem.cost_of(options, stratum) > problem.limit)
    if len(over):
        effects = problem.effects(options[over], stratum[over])
        np.put_along_axis(effects, options[over][:, :, None], STICKINESS, 2)
        fastest = problem.fastest[stratum[over]]
        effects = effects - np.take_along_axis(effects, fastest[:, :, None], 2)
        extra = problem.extra_costs(fastest, stratum[over])
        options[over] = lagrangian(problem, fastest, stratum[over], effects, extra, options.shape[1])
    return problem.evaluate(options, stratum)


def exchange(problem: Problem, members: Members, count: int, exact: bool) -> Members:
    """Each member, or the best of `count` changes of two units at once, if that is better.

    It tries the pairs within the budget whose two effects promise the most. One unit often pays for another.
    exact: evaluate all single changes and use their effects instead of slopes. The single changes are candidates too.
    """
    options, stratum, _ = members
    extra, room = problem.extra_costs(options, stratum), problem.limit - problem.cost_of(options, stratum)
    others = problem.real & problem.present[stratum][:, :, None]
    np.put_along_axis(others, options[:, :, None], False, 2)  # no change
    best = members
    if exact:
        member, units, chosen = np.nonzero(others)
        singles = problem.evaluate(*_changed(members, member, units[:, None], chosen[:, None]))
        effects = np.zeros(others.shape)
        effects[others] = singles.value - members.value[member]
        best = _best(problem, best, member, singles)
    else:
        effects = problem.effects(options, stratum)
    others &= ~_dominated(effects, extra, problem.real)
    found = [_pairs(*arrays, count) for arrays in zip(effects, extra, others, room, strict=True)]
    units, chosen = (np.concatenate(parts) for parts in zip(*found, strict=True))
    member = np.repeat(np.arange(len(found)), [len(pairs) for pairs, _ in found])
    return _best(problem, best, member, problem.evaluate(*_changed(members, member, units, chosen)))


def _dominated(effects: np.ndarray, extra: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Options (n, units, options) that another option of the same unit dominates: better in cost or effect, equal in the other.

    The current option, with zero effect and cost, can dominate too.
    """
    gain, cost = effects[..., None] - effects[..., None, :], extra[..., None] - extra[..., None, :]
    return ((gain <= 0) & (cost >= 0) & ((gain < 0) | (cost > 0)) & real[:, None]).any(3)


def _pairs(
    effects: np.ndarray, extra: np.ndarray, others: np.ndarray, room: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The most promising changes of two units within the budget: their units and options, each (at most `count`, 2).

    effects, extra (units, options): effect and cost of single changes. others (units, options): which changes to consider.
    """
    units, chosen = np.nonzero(others)
    gains, costs = effects[units, chosen], extra[units, chosen]
    possible = (costs[:, None] + costs <= room) & (units[:, None] < units)
    promise = np.where(possible, gains[:, None] + gains, -np.inf).ravel()
    top = np.argpartition(-promise, count)[:count] if count < len(promise) else np.arange(len(promise))
    pairs = np.stack(np.divmod(top[np.isfinite(promise[top])], max(len(units), 1)), 1)
    return units[pairs], chosen[pairs]


def _best(problem: Problem, members: Members, member: np.ndarray, candidates: Members) -> Members:
    """Each member, or the best of its candidates within the budget if better. member (candidates,): index of the member."""
    fits = problem.cost_of(candidates.options, candidates.stratum) <= problem.limit
    order = np.flatnonzero(fits)[np.lexsort((candidates.value[fits], member[fits]))]
    last = order[np.flatnonzero(np.diff(member[order], append=-1))]
    last = last[candidates.value[last] > members.value[member[last]]]
    options, value = members.options.copy(), members.value.copy()
    options[member[last]], value[member[last]] = candidates.options[last], candidates.value[last]
    return Members(options, members.stratum, value)


def _changed(members: Members, member: np.ndarray, units: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Options and strata of the members at index `member` (n,), with some units changed. units, chosen (n, changes)."""
    options = members.options[member]
    options[np.arange(len(units))[:, None], units] = chosen
    return options, members.stratum[member]
