"""Gaussian process regression over grouped features. Hyperparameters maximise the marginal likelihood.

Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006): equations 2.25 and 2.26 (prediction), 5.8 and 5.9
(marginal likelihood and its gradient), 5.12 (leave-one-out). The kernel is

    k(a, b) = s^2 exp(-1/2 sum_g w_g^2 |a_g - b_g|^2) + sum_g l_g^2 a_g . b_g + c^2,

with one weight w_g and one l_g for each group g of features. Each kind of choice has an additive effect and takes part in
interactions. Memory is a few matrices of n measurements by as many, or by the architectures predicted at a time.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Groups = dict[str, np.ndarray]
"""Features (n, k_g) by group name."""

JITTER = 1e-8
PRIOR = 0.005
"""Weight of a weak Gaussian prior on the logarithms of the hyperparameters. It keeps unused ones from diverging."""
SUBSET = 400
"""Most observations in the first search for hyperparameters. A step costs the cube of this number."""
LAST_STEPS = 20
"""Steps of the second search, over all observations. It starts close to the optimum."""


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process over standardised targets. Equal data gives equal hyperparameters."""

    groups: tuple[str, ...]
    log_weights: np.ndarray
    """Logarithms (2 g + 3,) of all w_g, all l_g, s, c and the standard deviation of the noise."""
    x: Groups
    mean: float
    scale: float
    alpha: np.ndarray  # (n,)
    inverse: np.ndarray  # (n, n), of the kernel matrix with noise

    @classmethod
    def fit(cls, x: Groups, y: np.ndarray, iterations: int = 100) -> "GaussianProcess":
        """Maximises the marginal likelihood of y (n,) by up to `iterations` steps of L-BFGS from a fixed start.

        With more than `SUBSET` observations, a first search uses a fixed random subset. A second search over all observations
        starts from its result.
        """
        groups = tuple(sorted(x))
        targets = (y - y.mean()) / (y.std() or 1.0)
        weights = np.concatenate([np.full(len(groups), -2.0), np.full(len(groups), -1.5), [0.0, 0.0, -2.5]])
        if len(y) > SUBSET:
            rows = np.random.default_rng(0).permutation(len(y))[:SUBSET]
            weights = _maximise(weights, targets[rows], [x[group][rows] for group in groups], iterations)
            iterations = LAST_STEPS
        return cls.from_weights(groups, _maximise(weights, targets, [x[group] for group in groups], iterations), x, y)

    @classmethod
    def from_weights(cls, groups: tuple[str, ...], log_weights: np.ndarray, x: Groups, y: np.ndarray) -> "GaussianProcess":
        """A process with given hyperparameters."""
        mean, scale = float(y.mean()), float(y.std()) or 1.0
        features = [x[group] for group in groups]
        smooth, kernel = _parts(log_weights, features, features)
        kernel += smooth
        kernel.flat[:: len(y) + 1] += np.exp(2 * log_weights[-1]) + JITTER
        inverse, _ = _invert(kernel)
        return cls(groups, log_weights, x, mean, scale, inverse @ ((y - mean) / scale), inverse)

    def predict(self, x: Groups) -> np.ndarray:
        """Means (m,)."""
        return self._cross(x) @ self.alpha * self.scale + self.mean

    def deviation(self, x: Groups) -> np.ndarray:
        """Standard deviations (m,) of new observations, including noise."""
        cross = self._cross(x)
        weights, count = np.exp(2 * self.log_weights), len(self.groups)
        prior = weights[-3] + weights[-2] + weights[-1]
        prior = prior + sum(weights[count + i] * (x[group] ** 2).sum(1) for i, group in enumerate(self.groups))
        return np.sqrt(np.maximum(prior - ((cross @ self.inverse) * cross).sum(1), 1e-12)) * self.scale

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and deviations, each (n,), of every observation predicted from all others."""
        precision = np.diag(self.inverse)
        return self.alpha / precision * self.scale, self.scale / np.sqrt(precision)

    def _cross(self, x: Groups) -> np.ndarray:  # (m, n)
        smooth, kernel = _parts(self.log_weights, *([features[group] for group in self.groups] for features in (x, self.x)))
        kernel += smooth
        return kernel


def _maximise(start: np.ndarray, y: np.ndarray, groups: list[np.ndarray], iterations: int) -> np.ndarray:
    bounds, data, options = [(-8.0, 4.0)] * len(start), (y, groups), {"maxiter": iterations}
    return minimize(_negative_log_likelihood, start, data, "L-BFGS-B", jac=True, bounds=bounds, options=options).x


def _parts(log_weights: np.ndarray, a: list[np.ndarray], b: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of the kernel, each (n, m): the exponential one, and the rest. a, b: by group, (n, k_g) and (m, k_g)."""
    count, weights = len(a), np.exp(log_weights)
    # The weights scale the features, so a matrix product over the features of all groups does instead of one for each group.
    a_near, b_near, a_linear, b_linear = (
        np.concatenate([weight * part for weight, part in zip(chosen, parts, strict=True)], axis=1)
        for chosen in (weights[:count], weights[count:-3])
        for parts in (a, b)
    )
    distances = a_near @ b_near.T
    distances *= -2
    distances += (a_near**2).sum(1)[:, None]
    distances += (b_near**2).sum(1)
    np.maximum(distances, 0, out=distances)
    distances *= -0.5
    smooth = np.exp(distances, out=distances)
    smooth *= weights[-3] ** 2
    linear = a_linear @ b_linear.T
    linear += weights[-2] ** 2
    return smooth, linear


def _negative_log_likelihood(log_weights: np.ndarray, y: np.ndarray, groups: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Value and gradient, without the constant. groups: features (n, k_g). One matrix inversion takes most of the time."""
    count, weights = len(groups), np.exp(2 * log_weights)
    smooth, kernel = _parts(log_weights, groups, groups)
    kernel += smooth
    kernel.flat[:: len(y) + 1] += weights[-1] + JITTER
    inverse, half_log_determinant = _invert(kernel)
    alpha = inverse @ y
    value = 0.5 * y @ alpha + half_log_determinant + PRIOR * (log_weights**2).sum()
    outer = inverse
    outer -= np.outer(alpha, alpha)
    # sum_ij M_ij a_i . a_j = sum (M a) * a, so sums over all pairs need no matrix of pairs for each group.
    gradient = [w * ((outer @ x) * x).sum() for w, x in zip(weights[count:-3], groups, strict=True)]
    last = [weights[-2] * outer.sum(), weights[-1] * np.trace(outer)]
    outer *= smooth
    rows = outer.sum(1)  # |a_i - a_j|^2 = |a_i|^2 + |a_j|^2 - 2 a_i . a_j
    near = [w * (((outer @ x) * x).sum() - rows @ (x**2).sum(1)) for w, x in zip(weights[:count], groups, strict=True)]
    return float(value), np.array([*near, *gradient, outer.sum(), *last]) + 2 * PRIOR * log_weights


def _invert(kernel: np.ndarray) -> tuple[np.ndarray, float]:
    """The inverse of a positive definite matrix (n, n), and half the logarithm of its determinant. Overwrites `kernel`.

    Three times as fast as solving for the columns of the identity matrix.
    """
    # The transpose of a symmetric C-ordered array is the same matrix in LAPACK's order, so no copy is made.
    factor, failed = dpotrf(kernel.T, lower=1, overwrite_a=1)
    half_log_determinant = float(np.log(np.diag(factor)).sum())
    half, singular = dpotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise np.linalg.LinAlgError("the kernel matrix is not positive definite")
    inverse = np.tril(half)
    inverse += np.tril(half, -1).T
    return inverse, half_log_determinant
