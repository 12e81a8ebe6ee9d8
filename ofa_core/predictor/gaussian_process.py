"""Gaussian process regression over grouped features, with hyperparameters by marginal likelihood.

Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006): equations 2.25 and 2.26 (prediction), 5.8 and 5.9
(marginal likelihood and its gradient), 5.12 (leave-one-out). The kernel is

    k(a, b) = s^2 exp(-1/2 sum_g w_g^2 |a_g - b_g|^2) + sum_g l_g^2 a_g . b_g + c^2,

one weight w_g and l_g for each group g of features: each kind of choice has an additive effect and takes part in interactions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Groups = dict[str, np.ndarray]
"""Features (n, k_g) by group name."""

JITTER = 1e-8
PRIOR = 0.005
"""Weight of a weak Gaussian prior on the logarithms of the hyperparameters; it keeps unused ones from running away."""


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process over standardised targets. Equal data gives equal hyperparameters."""

    groups: tuple[str, ...]
    log_weights: np.ndarray
    """w_g of every group, l_g of every group, s, c and the noise's deviation, as logarithms (2 g + 3,)."""
    x: Groups
    mean: float
    scale: float
    alpha: np.ndarray  # (n,)
    inverse: np.ndarray  # (n, n), of the kernel matrix with noise

    @classmethod
    def fit(cls, x: Groups, y: np.ndarray, iterations: int = 100) -> "GaussianProcess":
        """Maximises the marginal likelihood of y (n,) from a fixed start with at most `iterations` steps of L-BFGS."""
        groups = tuple(sorted(x))
        mean, scale = float(y.mean()), float(y.std()) or 1.0
        targets = (y - mean) / scale
        distances = [_distances(x[group], x[group]) for group in groups]
        products = [x[group] @ x[group].T for group in groups]
        start = np.concatenate([np.full(len(groups), -2.0), np.full(len(groups), -1.5), [0.0, 0.0, -2.5]])
        bounds, options, data = [(-8.0, 4.0)] * len(start), {"maxiter": iterations}, (targets, distances, products)
        found = minimize(_negative_log_likelihood, start, data, "L-BFGS-B", jac=True, bounds=bounds, options=options)
        return cls.from_weights(groups, found.x, x, y)

    @classmethod
    def from_weights(cls, groups: tuple[str, ...], log_weights: np.ndarray, x: Groups, y: np.ndarray) -> "GaussianProcess":
        """A process with given hyperparameters."""
        mean, scale = float(y.mean()), float(y.std()) or 1.0
        kernel = _kernel(log_weights, *_pairs(groups, x, x)) + np.eye(len(y)) * (np.exp(2 * log_weights[-1]) + JITTER)
        inverse = cho_solve(cho_factor(kernel, lower=True), np.eye(len(y)))
        return cls(groups, log_weights, x, mean, scale, inverse @ ((y - mean) / scale), inverse)

    def predict(self, x: Groups) -> np.ndarray:
        """Means (m,)."""
        return self._cross(x) @ self.alpha * self.scale + self.mean

    def deviation(self, x: Groups) -> np.ndarray:
        """Standard deviations (m,) of new observations, noise included."""
        cross = self._cross(x)
        weights, count = np.exp(2 * self.log_weights), len(self.groups)
        prior = weights[-3] + weights[-2] + weights[-1]
        prior = prior + sum(weights[count + i] * (x[group] ** 2).sum(1) for i, group in enumerate(self.groups))
        return np.sqrt(np.maximum(prior - ((cross @ self.inverse) * cross).sum(1), 1e-12)) * self.scale

    def leave_one_out(self) -> np.ndarray:
        """Standardised residuals (n,) of every observation, predicted from all others."""
        return self.alpha / np.sqrt(np.diag(self.inverse))

    def _cross(self, x: Groups) -> np.ndarray:  # (m, n)
        return _kernel(self.log_weights, *_pairs(self.groups, x, self.x))


def _kernel(log_weights: np.ndarray, distances: list[np.ndarray], products: list[np.ndarray]) -> np.ndarray:
    count, weights = len(distances), np.exp(2 * log_weights)
    smooth = weights[-3] * np.exp(-0.5 * sum(w * d for w, d in zip(weights[:count], distances, strict=True)))
    return smooth + sum(w * p for w, p in zip(weights[count:-3], products, strict=True)) + weights[-2]


def _negative_log_likelihood(
    log_weights: np.ndarray, y: np.ndarray, distances: list[np.ndarray], products: list[np.ndarray]
) -> tuple[float, np.ndarray]:
    """Value and gradient, without the constant."""
    count, weights = len(distances), np.exp(2 * log_weights)
    kernel = _kernel(log_weights, distances, products)
    linear = sum(w * p for w, p in zip(weights[count:-3], products, strict=True)) + weights[-2]
    smooth = kernel - linear
    factor = cho_factor(kernel + np.eye(len(y)) * (weights[-1] + JITTER), lower=True)
    inverse = cho_solve(factor, np.eye(len(y)))
    alpha = inverse @ y
    value = 0.5 * y @ alpha + np.log(np.diag(factor[0])).sum() + PRIOR * (log_weights**2).sum()
    outer = inverse - np.outer(alpha, alpha)
    gradient = [-0.5 * w * (outer * smooth * d).sum() for w, d in zip(weights[:count], distances, strict=True)]
    gradient += [w * (outer * p).sum() for w, p in zip(weights[count:-3], products, strict=True)]
    gradient += [(outer * smooth).sum(), weights[-2] * outer.sum(), weights[-1] * np.trace(outer)]
    return float(value), np.array(gradient) + 2 * PRIOR * log_weights


def _pairs(groups: tuple[str, ...], a: Groups, b: Groups) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [_distances(a[group], b[group]) for group in groups], [a[group] @ b[group].T for group in groups]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (len(a), len(b))."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
