"""The accuracy predictor: architecture and resolution in, top-1 and its uncertainty out."""

import json
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ofa_core import files
from ofa_core.arch import Arch
from ofa_core.predictor.features import encode_features
from ofa_core.predictor.gaussian_process import GaussianProcess
from ofa_core.space import Space
from ofa_core.spaces import get_space

CHUNK = 8192
"""Architectures predicted at a time, to bound memory."""


class AccuracyPredictor:
    """Top-1 of sub-networks of one space by Gaussian process regression on measured ones.

    On the 2,223 measured ImageNet sub-networks of ofa_mbv3 it is more exact than the published three-layer perceptron.
    """

    def __init__(
        self, space: Space, codes: np.ndarray, resolutions: np.ndarray, top1: np.ndarray, process: GaussianProcess
    ) -> None:
        self.space, self.codes, self.resolutions, self.top1, self.process = space, codes, resolutions, top1, process
        self._residuals = np.sort(np.abs(process.leave_one_out()))

    @classmethod
    def fit(cls, space: Space, archs: Sequence[Arch], top1: Sequence[float] | np.ndarray, seed: int = 0) -> "AccuracyPredictor":
        """Fits to measured architectures; each carries its resolution.

        top1: accuracies in 0..1 (n,). seed: kept for predictors that draw random numbers; this one draws none.
        Raises ValueError for fewer than 10 measurements, unequal lengths, values outside 0..1 or a foreign architecture.
        """
        y = np.asarray(top1, dtype=float)
        if len(archs) != len(y) or len(y) < 10:
            raise ValueError(f"predictor: {len(archs)} architectures and {len(y)} accuracies; at least 10 of each are needed")
        if not ((y >= 0) & (y <= 1)).all():
            raise ValueError("predictor: accuracies must be in 0..1")
        codes, resolutions = space.encode(archs)
        return cls(space, codes, resolutions, y, GaussianProcess.fit(encode_features(space, codes, resolutions), y))

    def predict(self, archs: Sequence[Arch]) -> np.ndarray:
        """Expected top-1 in 0..1 (n,). Raises ValueError for an architecture that is not of the space."""
        return self.predict_codes(*self.space.encode(archs))

    def predict_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """The same for encoded architectures: codes (n, genes), resolutions (n,)."""
        starts = range(0, len(codes), CHUNK)
        parts = [encode_features(self.space, codes[i : i + CHUNK], resolutions[i : i + CHUNK]) for i in starts]
        return np.concatenate([self.process.predict(part) for part in parts])

    def interval(self, archs: Sequence[Arch], coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Bounds (low, high), each (n,), that hold a measured top-1 with probability `coverage`.

        The width is a multiple of the process's deviation; which multiple follows from the leave-one-out residuals, so that it
        does not rest on a normal distribution.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage: {coverage} is not between 0 and 1")
        features = encode_features(self.space, *self.space.encode(archs))
        mean = self.process.predict(features)
        count = len(self._residuals)
        rank = min(int(np.ceil((count + 1) * coverage)), count) - 1
        width = self._residuals[rank] * self.process.deviation(features)
        return np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1)

    def save(self, path: str | Path) -> None:
        """Writes measurements and hyperparameters as .npz, byte for byte repeatable."""
        space = {
            "name": self.space.name,
            "width_mult": getattr(self.space, "width_mult", None),
            "resolutions": self.space.resolutions,
        }
        with files.replacing(path) as temporary, temporary.open("wb") as f:
            np.savez(f, space=np.array(json.dumps(space)), codes=self.codes, resolutions=self.resolutions, top1=self.top1,
                     groups=np.array(self.process.groups), log_weights=self.process.log_weights)  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> "AccuracyPredictor":
        """Reads what `save` wrote. Raises ValueError, one line, for a missing or foreign file."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                fields = {name: stored[name] for name in stored.files}
            space = get_space(**json.loads(str(fields["space"])))
            codes, resolutions, top1 = fields["codes"], fields["resolutions"], fields["top1"]
            groups = tuple(str(group) for group in fields["groups"])
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file") from None
        except (OSError, KeyError, TypeError, ValueError, BadZipFile):
            raise ValueError(f"{path}: not a predictor of this pipeline") from None
        features = encode_features(space, codes, resolutions)
        return cls(space, codes, resolutions, top1, GaussianProcess.from_weights(groups, fields["log_weights"], features, top1))
