"""Engine `exact`: the proven optimum of a predictor that is additive over stages, under an additive cost.

Choosing one entry per stage with additive values and costs is a multiple-choice knapsack problem (Kellerer, Pferschy, Pisinger:
Knapsack Problems, 2004, chapter 11). Dynamic programming over stages solves it. The states are the undominated pairs of cost
and value, not the cells of a grid, so no cost is rounded. Sums are float64. Lagrangian bounds remove states that cannot beat a
known solution.
"""

from typing import Any, NamedTuple

import numpy as np

from ofa_core.predictor.additive import AdditivePredictor, stage_choices
from ofa_core.search.problem import Members, Problem

SAMPLES = 8000
"""Number of random sub-networks to fit an additive predictor to, if the given one is not additive."""
MOST_PAIRS = 4_000_000
"""Most sums of two fronts computed at a time, to limit memory."""


class Solution(NamedTuple):
    """chosen: one index per stage."""

    chosen: tuple[int, ...]
    value: float
    cost: float


def solve(values: list[np.ndarray], costs: list[np.ndarray], limit: float, known: float = -np.inf) -> Solution | None:
    """One entry per stage, with the largest sum of values whose costs add up to at most `limit`.

    values, costs: one array (choices,) per stage. Returns None if nothing fits or nothing is better than `known`.
    """
    if sum(cost.min() for cost in costs) > limit:
        return None
    price, bound, feasible = _dual(values, costs, limit)
    if bound <= known:
        return None
    start = max(known, feasible)
    rest_cost = np.cumsum([0.0, *(cost.min() for cost in costs[:0:-1])])[::-1]
    rest_bound = np.cumsum([0.0, *((v - price * c).max() for v, c in zip(values[:0:-1], costs[:0:-1], strict=True))])[::-1]
    slack = 1e-12 * max(1.0, abs(bound))  # keeps states that differ only by rounding
    front, history = (np.zeros(1), np.zeros(1)), []
    for s, (value, cost) in enumerate(zip(values, costs, strict=True)):
        own = _undominated(cost, value)
        front, previous, chosen = _add(front, (cost[own], value[own]), limit - rest_cost[s])
        # A state stays if the Lagrangian bound on the remaining stages lets it reach the known solution.
        hopeful = front[1] + price * (limit - front[0]) + rest_bound[s] >= start - slack
        front = front[0][hopeful], front[1][hopeful]
        history.append((previous[hopeful], own[chosen[hopeful]]))
    if not len(front[0]) or front[1][-1] <= known:
        return None
    state, picked = len(front[0]) - 1, []
    for previous, own in reversed(history):
        picked.append(int(own[state]))
        state = previous[state]
    return Solution(tuple(reversed(picked)), float(front[1][-1]), float(front[0][-1]))


def _dual(values: list[np.ndarray], costs: list[np.ndarray], limit: float) -> tuple[float, float, float]:
    """A price of cost, the upper bound on the value that it proves, and the value of a solution within the limit."""
    span = sum(np.ptp(v) for v in values) + 1e-300
    width = max(sum(np.ptp(c) for c in costs), 1e-300)
    low, high = 0.0, 1e6 * span / width
    bounds, feasible = [], sum(v[c == c.min()].max() for v, c in zip(values, costs, strict=True))
    for step in range(60):
        price = 0.0 if step == 0 else (low + high) / 2
        picked = [(v - price * c).argmax() for v, c in zip(values, costs, strict=True)]
        value, cost = (sum(float(a[i]) for a, i in zip(arrays, picked, strict=True)) for arrays in (values, costs))
        bounds.append((value + price * (limit - cost), price))
        if cost <= limit:
            feasible = max(feasible, value)
            high = price
            if step == 0:
                break
        elif step:
            low = price
    bound, price = min(bounds)
    return price, bound, feasible


def _undominated(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Indices of the entries that no other entry dominates (lower or equal cost, higher or equal value), by rising cost."""
    order = np.lexsort((-value, cost))
    best = np.maximum.accumulate(value[order])
    return order[np.concatenate([[True], best[1:] > best[:-1]])] if len(order) else order


def _add(
    front: tuple[np.ndarray, np.ndarray], stage: tuple[np.ndarray, np.ndarray], limit: float
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Undominated sums of a front and a stage (cost, value) within `limit`, with the index of each sum in both."""
    rows = max(1, MOST_PAIRS // len(stage[0]))
    cost, value, first, second = np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0, int)
    for start in range(0, len(front[0]), rows):
        sums = front[0][start : start + rows, None] + stage[0]
        i, j = np.nonzero(sums <= limit)
        cost = np.concatenate([cost, sums[i, j]])
        value = np.concatenate([value, front[1][start + i] + stage[1][j]])
        first, second = np.concatenate([first, start + i]), np.concatenate([second, j])
        kept = _undominated(cost, value)
        cost, value, first, second = cost[kept], value[kept], first[kept], second[kept]
    return (cost, value), first, second


def optimum(problem: Problem, additive: Any) -> tuple[np.ndarray, int, float]:
    """Code (genes,), resolution and value of the proven best network within the budget.

    additive: an object with `stage_values(resolution)`, such as an `AdditivePredictor`. It returns a constant and the values
    of the choices of each stage of `stage_choices`.
    """
    stages, best = stage_choices(problem.space), None
    reference = np.zeros((1, len(problem.space.genes)), np.int16)
    for resolution in np.unique(problem.resolution):
        constant, values = additive.stage_values(int(resolution))
        of_stages = problem.cost.of_changes(reference, np.array([resolution]), stages)
        costs = [cost[0] for cost in of_stages]
        # The reference takes one of the choices in each stage. The rest of its cost belongs to no stage.
        present = [int(np.flatnonzero((codes == 0).all(1))[0]) for _, codes in stages]
        rest = problem.cost.of_codes(reference, np.array([resolution]))[0] - sum(
            c[i] for c, i in zip(costs, present, strict=True)
        )
        known = -np.inf if best is None else best[2] - constant
        solution = solve(values, costs, problem.limit - rest, known)
        if solution is not None:
            code = reference[0].copy()
            for (columns, codes), chosen in zip(stages, solution.chosen, strict=True):
                code[list(columns)] = codes[chosen]
            best = code, int(resolution), solution.value + constant
    assert best is not None  # Problem guarantees a member within the budget
    return best


def search_exactly(problem: Problem, predictor: Any, rng: np.random.Generator) -> tuple[Members, bool]:
    """The best member, and whether it is proven.

    It is proven for an additive predictor. For another predictor it is the optimum of an additive fit on random sub-networks.
    """
    proven = hasattr(predictor, "stage_values")
    code, resolution, value = optimum(problem, predictor if proven else fit_additive(problem, SAMPLES, rng))
    best = problem.members(code[None], np.array([resolution]), np.array([value]))
    return problem.evaluate(best.options, best.stratum), proven


def fit_additive(problem: Problem, samples: int, rng: np.random.Generator, pairs: bool = True) -> AdditivePredictor:
    """An additive predictor of the objective, fitted to random sub-networks of all strata. Counts as evaluations."""
    space = problem.space
    columns = [stage.columns for stage in stage_choices(space)] if pairs else []
    stratum = rng.integers(len(problem.resolution), size=samples)
    options = rng.integers(problem.sizes, size=(samples, len(problem.sizes)))
    members = problem.evaluate(options, stratum)
    codes, resolutions = problem.codes(members.options, members.stratum), problem.resolution[stratum]
    return AdditivePredictor.fit_codes(space, codes, resolutions, members.value, columns)
