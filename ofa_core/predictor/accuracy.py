"""The accuracy predictor: maps architecture and resolution to top-1 and its uncertainty."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ofa_core.predictor.features import encode_features, networks
from ofa_core.predictor.gaussian_process import GaussianProcess
from ofa_core.predictor.intervals import Calibration
from ofa_core.predictor.official import OfficialPredictor, is_official
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.registry import space_of

MOST_PAIRS = 2**21
"""Most pairs of an architecture and a measurement at a time: 16 MB for each of the few matrices over them."""
MOST_ROWS = 8192
"""Most architectures predicted at a time, for their features."""
BASE = "base"
"""Name of the feature that holds the base's prediction, and prefix of the base's arrays in a file."""


class AccuracyPredictor:
    """Predicts top-1 of sub-networks of one space by Gaussian process regression on measured sub-networks.

    On the 2,223 measured ImageNet sub-networks of ofa_mbv3 it is more accurate than the published three-layer perceptron.

    With a `base` (another predictor) it learns only how its measurements differ from the base. This predicts int8 accuracy from
    a few hundred int8 measurements and the float predictor. APQ (https://arxiv.org/abs/2006.08509) transfers the weights of a
    perceptron for the same purpose. For Gaussian processes this is recursive co-kriging (Le Gratiet and Garnier, 2014,
    https://arxiv.org/abs/1210.0686).

    With the cross entropy of the measured networks it learns that, and a straight line through all of them turns it into top-1.
    An image counts as right or wrong in top-1 by chance where a network is unsure; cross entropy has less of such noise, so
    fewer images order networks as well. Residuals, deviations and intervals are those of measured top-1 all the same.
    """

    def __init__(
        self,
        space: Space,
        codes: np.ndarray,
        resolutions: np.ndarray,
        top1: np.ndarray,
        log_weights: np.ndarray | None = None,
        base: "AccuracyPredictor | None" = None,
        cross_entropy: np.ndarray | None = None,
    ) -> None:
        """codes (n, genes), resolutions (n,), top1 (n,) in 0..1. log_weights: hyperparameters, or None to fit them.

        cross_entropy: (n,) in nats, to be learned in place of top-1.
        """
        self.space, self.codes, self.resolutions, self.top1, self.base = space, codes, resolutions, top1, base
        self.cross_entropy = cross_entropy
        learned = top1 if cross_entropy is None else _on_a_line(cross_entropy, top1)
        self._scatter = float((top1 - learned).std())  # of measured top-1 around the line
        features, start = encode_features(space, codes, resolutions), np.zeros(len(top1))
        residuals, deviations = np.zeros(len(top1)), np.zeros(len(top1))
        if base is not None:
            start, residuals, deviations = base._at(codes, resolutions)
            features |= {BASE: self._base_feature(start)}
        target = learned - start
        self.process = (
            GaussianProcess.fit(features, target)
            if log_weights is None
            else GaussianProcess.from_weights(tuple(sorted(features)), log_weights, features, target)
        )
        # The error for a new architecture has two parts: the process's, and the base's where it measured the architecture.
        own_residuals, own_deviations = self.process.leave_one_out()
        self._residuals = residuals + own_residuals + top1 - learned
        self._deviations = np.hypot(np.hypot(deviations, own_deviations), self._scatter)
        parameters = len(self.process.log_weights) + (0 if cross_entropy is None else 2)
        self.calibration = Calibration.fit(top1 - self._residuals, self._deviations, self._residuals, parameters)

    @classmethod
    def fit(
        cls,
        space: Space,
        archs: Sequence[Arch],
        top1: Sequence[float] | np.ndarray,
        seed: int = 0,
        base: "AccuracyPredictor | None" = None,
        cross_entropy: np.ndarray | None = None,
    ) -> "AccuracyPredictor":
        """Fits to measured architectures, each with its resolution.

        top1: accuracies in 0..1 (n,). seed: unused; this fit draws no random numbers.
        base: the predictor to transfer from. Its space must have the same choices.
        cross_entropy: (n,) in nats per image, on the images of top1, to be learned in place of it.
        Raises InputError for fewer than 10 measurements, unequal lengths, values outside 0..1, a cross entropy that is not
        finite, or an architecture that is not in the space.
        """
        y = np.asarray(top1, dtype=float)
        if len(archs) != len(y) or len(y) < 10:
            raise InputError(f"predictor: {len(archs)} architectures and {len(y)} accuracies; at least 10 of each are needed")
        if not ((y >= 0) & (y <= 1)).all():
            raise InputError("predictor: accuracies must be in 0..1")
        if cross_entropy is not None and (len(cross_entropy) != len(y) or not np.isfinite(cross_entropy).all()):
            raise InputError(f"predictor: {len(y)} finite cross entropies are needed, one for each accuracy")
        if base is not None and base.space.genes != space.genes:
            raise InputError(f"predictor: {base.space.name} and {space.name} have different choices; no transfer between them")
        return cls(space, *space.encode(archs), y, base=base, cross_entropy=cross_entropy)

    def predict(self, archs: Sequence[Arch]) -> np.ndarray:
        """Expected top-1 in 0..1 (n,). Raises InputError for an architecture that is not in the space."""
        return self.predict_codes(*self.space.encode(archs))

    def predict_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Expected top-1 in 0..1 (n,) of encoded architectures: codes (n, genes), resolutions (n,)."""
        return self._in_chunks(self._mean, codes, resolutions)

    def uncertainty_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """The calibrated size (n,) of the errors of `predict_codes`, roughly their standard deviation."""
        return self.calibration.scale(self.predict_codes(codes, resolutions), self._deviation(codes, resolutions))

    def interval(self, archs: Sequence[Arch], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Bounds (low, high), each (n,), that contain a measured top-1 with probability `coverage`.

        Their width comes from the leave-one-out residuals (see `Calibration`), not from a normal distribution.
        Raises InputError for a coverage outside 0..1 or an architecture that is not in the space.
        """
        codes, resolutions = self.space.encode(archs)
        mean = self.predict_codes(codes, resolutions)
        width = self.calibration.half_width(mean, self._deviation(codes, resolutions), coverage)
        return np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1)

    def leave_one_out(self, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Top-1 (n,) of each measured architecture as predicted from all others, and half the widths (n,) of its intervals.

        Hyperparameters and the line from cross entropy to top-1 are those fitted to all of them. So errors are somewhat smaller
        than those on new architectures: by a fifth for 80 measured ImageNet sub-networks, by less for more.
        """
        predicted = self.top1 - self._residuals
        return predicted, self.calibration.half_width(predicted, self._deviations, coverage)

    def known(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """The places (n,) of encoded architectures among the measured ones, -1 for those that were not measured."""
        places = {network: i for i, network in enumerate(networks(self.space, self.codes, self.resolutions))}
        return np.array([places.get(network, -1) for network in networks(self.space, codes, resolutions)], dtype=int)

    def save(self, path: str | Path) -> None:
        """Writes measurements and hyperparameters as .npz. Equal predictors give equal bytes."""
        with files.replacing(path) as temporary, temporary.open("wb") as f:
            np.savez(f, allow_pickle=False, **self._fields())

    @classmethod
    def load(cls, path: str | Path) -> "AccuracyPredictor | OfficialPredictor":
        """Reads a file written by `save` of either class, or the official acc_predictor.pth (suffix .pth or .pt).

        Raises InputError, one line, if the file is missing or is not a predictor.
        """
        if is_official(path):
            return OfficialPredictor.load(path)
        try:
            with np.load(path, allow_pickle=False) as stored:
                fields = {name: stored[name] for name in stored.files}
            return OfficialPredictor.from_fields(fields) if "weight0" in fields else cls._from_fields(fields)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, KeyError, TypeError, ValueError, BadZipFile, np.linalg.LinAlgError):
            raise InputError(f"{path}: not a predictor of this pipeline") from None

    def _fields(self, prefix: str = "") -> dict[str, np.ndarray]:
        own = {
            "space": np.array(json.dumps(self.space.description())),
            "codes": self.codes,
            "resolutions": self.resolutions,
            "top1": self.top1,
            "log_weights": self.process.log_weights,
        }
        own |= {} if self.cross_entropy is None else {"cross_entropy": self.cross_entropy}
        base = {} if self.base is None else self.base._fields(f"{prefix}{BASE}/")
        return {prefix + name: value for name, value in own.items()} | base

    @classmethod
    def _from_fields(cls, fields: dict[str, np.ndarray], prefix: str = "") -> "AccuracyPredictor":
        space = space_of(json.loads(str(fields[f"{prefix}space"])))
        codes, resolutions, top1, log_weights = (
            fields[prefix + name] for name in ("codes", "resolutions", "top1", "log_weights")
        )
        has_base = any(name.startswith(f"{prefix}{BASE}/") for name in fields)
        base = cls._from_fields(fields, f"{prefix}{BASE}/") if has_base else None
        return cls(space, codes, resolutions, top1, log_weights, base, fields.get(f"{prefix}cross_entropy"))

    def _in_chunks(
        self, values: Callable[[np.ndarray, np.ndarray], np.ndarray], codes: np.ndarray, resolutions: np.ndarray
    ) -> np.ndarray:  # (n,)
        """The values of many architectures, a few at a time, to limit memory."""
        measurements = max(len(self.top1), 0 if self.base is None else len(self.base.top1))
        rows = min(MOST_ROWS, max(1, MOST_PAIRS // measurements))
        parts = [values(codes[i : i + rows], resolutions[i : i + rows]) for i in range(0, len(codes), rows)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _mean(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:  # (n,)
        features = encode_features(self.space, codes, resolutions)
        if self.base is None:
            return self.process.predict(features)
        start = self.base._mean(codes, resolutions)
        return start + self.process.predict(features | {BASE: self._base_feature(start)})

    def _deviation(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:  # (n,)
        return self._in_chunks(self._deviations_of, codes, resolutions)

    def _deviations_of(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:  # (n,)
        features = encode_features(self.space, codes, resolutions)
        if self.base is None:
            return np.hypot(self.process.deviation(features), self._scatter)
        features |= {BASE: self._base_feature(self.base._mean(codes, resolutions))}
        own = np.hypot(self.process.deviation(features), self._scatter)
        return np.hypot(self.base._deviation(codes, resolutions), own)

    def _base_feature(self, start: np.ndarray) -> np.ndarray:  # (n,) -> (n, 1)
        base = self.base
        assert base is not None
        return ((start - base.top1.mean()) / (base.top1.std() or 1.0))[:, None]

    def _at(self, codes: np.ndarray, resolutions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Accuracies, residuals and deviations (n,) for a predictor that builds on this one.

        Accuracies are measured where available, else predicted. Residuals are the leave-one-out errors of measured
        architectures. They are 0 elsewhere: there the error is part of the residual of the predictor on top. Deviations are
        those of the same predictions.
        """
        index, start = self.known(codes, resolutions), self.predict_codes(codes, resolutions)
        measured = index >= 0
        start[measured] = self.top1[index[measured]]
        residuals, deviations = np.zeros(len(index)), self._deviation(codes, resolutions)
        residuals[measured], deviations[measured] = self._residuals[index[measured]], self._deviations[index[measured]]
        return start, residuals, deviations


def _on_a_line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The values (n,) at x (n,) of the straight line through points (x, y) that has the least squares."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (((x - x.mean()) ** 2).sum() or 1.0)
    return y.mean() + slope * (x - x.mean())
