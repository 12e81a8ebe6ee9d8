"""Finds labels that are probably wrong, from features of a pretrained network.

Every image is classified by a linear classifier that has not seen it (out-of-fold), and its label is judged by the probability
that the classifier gives it, its self-confidence (Northcutt, Jiang, Chuang, Confident Learning, 2021,
https://arxiv.org/abs/1911.00068). Here, a share of
the labels is taken to be drawn at random. It is fitted to the out-of-fold predictions, together with the classifier's
temperature, and gives each label a probability of being one of those.

Recall and precision with 5 % of the labels flipped, means of five draws, on equal predictions (Lite0; groceries: 30 kinds at
128 pixels; CIFAR-10: 2,000 photos enlarged to 160), beside the filter `both` of cleanlab 2.9:

                 flipped to any class         to the most similar class     named where none is flipped
                 here         cleanlab        here         cleanlab         here    cleanlab
    groceries    0.98, 0.85   0.86, 0.79      0.73, 0.91   0.84, 0.76       2       10 of 1,446
    CIFAR-10     0.84, 0.55   0.82, 0.29      0.40, 0.61   0.73, 0.27       0       188 of 2,000

So the list is short and mostly right, but mistakes between similar classes are missed more often than by cleanlab's filters.
"""

from typing import NamedTuple

import numpy as np

from ofa_core.run.errors import InputError

FOLDS = 5
PENALTIES = (0.03, 0.1, 0.3, 1, 3, 10)
"""Weights of the L2 penalty that are tried, as a share of the number of images; a feature's variance is 1 on average."""
DOUBT = 0.12
"""Least probability of being wrong of a suspicious label. Chosen on photos of CIFAR-10 and on the train half of groceries."""
FEWEST = 2
"""Fewest images of a class: one to learn from while the other is judged."""


class Suspects(NamedTuple):
    """Suspicious labels, the most probable errors first.

    indices: int64 (S,), of the images. wrong: float64 (S,), the probability that the label is wrong. suggested: int64 (S,), the
    class that the classifier takes the image for. share: the fitted share of wrong labels, 0 to 1.
    top1: share of images, 0 to 1, whose label is what the classifier takes the image for; the higher, the surer the list.
    """

    indices: np.ndarray
    wrong: np.ndarray
    suggested: np.ndarray
    share: float
    top1: float


def suspicious_labels(features: np.ndarray, labels: np.ndarray, seed: int) -> Suspects:
    """Labels that are probably wrong.

    features: float (N, D), not negative, such as those before the last layer of a network with ReLU; the network should see
    small images enlarged to 160 pixels or more. labels: int (N,), 0 to K - 1. seed: of the folds. Takes 3 s for 2,000 images
    with 1,280 features on one core.

    Raises InputError for shapes that do not fit, features that are not finite, fewer than two classes, or a class with fewer
    than `FEWEST` images.
    """
    _check(features, labels)
    scores = _out_of_fold(_scaled(features), labels, seed)  # one (N, K) for each penalty
    fits = [_fit(score, labels) for score in scores]
    best = min(range(len(fits)), key=lambda i: fits[i][0])
    _, temperature, share = fits[best]
    probabilities = _softmax(scores[best] * temperature)
    wrong = _wrong(probabilities[np.arange(len(labels)), labels], share, probabilities.shape[1])
    taken_for = probabilities.argmax(axis=1)
    doubtful = np.flatnonzero((wrong >= DOUBT) & (taken_for != labels))
    order = doubtful[np.argsort(-wrong[doubtful], kind="stable")]
    return Suspects(order, wrong[order], taken_for[order], share, float((taken_for == labels).mean()))


def _check(features: np.ndarray, labels: np.ndarray) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise InputError(f"features: {features.shape}, labels: {labels.shape}: not (N, D) and (N,)")
    if not np.isfinite(features).all():
        raise InputError("features: not all are finite")
    sizes = np.bincount(labels)
    if len(sizes) < 2:
        raise InputError("labels: only one class; nothing to compare with")
    few = np.flatnonzero(sizes < FEWEST)
    if len(few):
        raise InputError(f"labels: class {few[0]} has {sizes[few[0]]} images; it needs {FEWEST}")


def _scaled(features: np.ndarray) -> np.ndarray:
    """Square roots, of length 1 before the mean is taken off; variance 1 on average. float64 (N, D)."""
    roots = np.sqrt(np.maximum(features.astype(np.float64), 0))
    roots /= np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-12)
    roots -= roots.mean(axis=0)
    return np.asarray(roots / max(roots.std(), 1e-12))


def _out_of_fold(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Scores float64 (penalties, N, K) of each image by ridge regression to one-hot labels on the folds without it."""
    targets = np.eye(labels.max() + 1)[labels]
    scores = np.empty((len(PENALTIES), *targets.shape))
    fold = _folds(labels, seed)
    for number in range(FOLDS):
        inside, outside = fold != number, fold == number
        x, y = features[inside], targets[inside]
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        x = x - x_mean
        values, vectors = np.linalg.eigh(x.T @ x)  # all penalties share it
        right = vectors.T @ (x.T @ (y - y_mean))
        held_out = (features[outside] - x_mean) @ vectors
        for i, penalty in enumerate(PENALTIES):
            scores[i, outside] = held_out @ (right / (values + penalty * len(x))[:, None]) + y_mean
    return scores


def _folds(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fold for each image, int64 (N,), with each class spread evenly."""
    rng, fold = np.random.default_rng(seed), np.empty(len(labels), np.int64)
    for label in range(labels.max() + 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = (np.arange(len(members)) + rng.integers(FOLDS)) % FOLDS
    return fold


def _fit(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Negative log-likelihood of the labels per image, temperature, and share of random labels that minimises it."""
    from scipy.optimize import minimize  # slow to import

    own, classes = np.arange(len(labels)), scores.shape[1]

    def loss(parameters: np.ndarray) -> float:
        share = 1 / (1 + np.exp(-parameters[1]))
        own_class = _softmax(scores * np.exp(parameters[0]))[own, labels]
        return float(-np.log((1 - share) * own_class + share * (1 - own_class) / (classes - 1) + 1e-12).mean())

    best = min((minimize(loss, [start, -3.0], method="Nelder-Mead") for start in (1.5, 3.0)), key=lambda found: found.fun)
    return float(best.fun), float(np.exp(best.x[0])), float(1 / (1 + np.exp(-best.x[1])))


def _wrong(own_class: np.ndarray, share: float, classes: int) -> np.ndarray:
    """The probability (Bayes) that a label was drawn at random from the other classes, given the label's own probability."""
    drawn = share * (1 - own_class) / (classes - 1)
    return np.asarray(drawn / np.maximum(drawn + (1 - share) * own_class, 1e-300))


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
