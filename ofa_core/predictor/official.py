"""The accuracy predictor published with Once-for-All: a perceptron with three hidden layers for ofa_mbv3 at width 1.2.

Sources: Once-for-All, appendix A, and the file acc_predictor.pth in han-cai/files.

Inputs: the one-hot kernel sizes of all 20 blocks, then the one-hot expand ratios, then the resolution as one of 8 classes of 16
pixels from 112. Blocks that the depth skips are zero. Output: top-1 in 0..1 on 10,000 images held out of the training set.
Accuracy on the validation set is lower.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ofa_core.predictor.features import present_genes
from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch
from ofa_core.space.base import Space
from ofa_core.space.registry import get_space, space_of

FIRST_RESOLUTION, RESOLUTION_STEP, RESOLUTIONS = 112, 16, 8
CHUNK = 1024
"""Architectures predicted at a time. Their activations fit in the processor's cache."""

NAMES = ("weight", "bias")
"""Of the arrays of a layer in a file, followed by its number."""

Weights = tuple[np.ndarray, np.ndarray]
"""Weight (inputs, outputs) and bias (outputs,) of one layer, float32."""


def is_official(path: str | Path) -> bool:
    """Whether the path has the suffix of a torch file, like the published predictor. Ours is an archive of numpy arrays."""
    return Path(path).suffix in (".pth", ".pt")


def official_space() -> Space:
    """The space of the published predictor, at the resolutions that it covers."""
    return get_space("ofa_mbv3", 1.2, tuple(FIRST_RESOLUTION + RESOLUTION_STEP * i for i in range(RESOLUTIONS)))


class OfficialPredictor:
    """Predicts top-1 of sub-networks of ofa_mbv3. Loaded by `ofa_core.predictor.AccuracyPredictor.load`.

    It has no uncertainty estimate, because the published file has none.
    """

    def __init__(self, layers: Sequence[Weights], space: Space | None = None) -> None:
        """layers: three hidden layers and the head.

        space: ofa_mbv3 or a part of it, of any width; None: all of it at the published one. Raises InputError for others.
        """
        published = official_space()
        self.space, self.layers = published if space is None else space, list(layers)
        if not _is_part(self.space, published):
            raise InputError(f"space.name: {self.space.name}: the official predictor knows sub-networks of ofa_mbv3 alone")
        self._elastic = [i for i, gene in enumerate(published.genes) if gene.field in ("ks", "e")]
        known, own = ([space.genes[i].choices for i in self._elastic] for space in (published, self.space))
        # Inputs follow the order of the genes: kernel sizes, then expand ratios, all published choices of a gene side by side.
        self._columns = np.zeros((len(own), max(map(len, own))), int)  # the input of each gene's choice
        first = 0
        for row, all_choices, choices in zip(self._columns, known, own, strict=True):
            row[: len(choices)] = [first + all_choices.index(choice) for choice in choices]
            first += len(all_choices)
        if len(self.layers[0][0]) != first + RESOLUTIONS:
            raise InputError(f"{len(self.layers[0][0])} inputs, not {first + RESOLUTIONS}")

    def restricted(self, space: Space) -> "OfficialPredictor":
        """The same predictor for a part of ofa_mbv3, of any width. Raises InputError for another space."""
        return OfficialPredictor(self.layers, space)

    @classmethod
    def load(cls, path: str | Path) -> "OfficialPredictor":
        """Reads the state dict with torch's safe loader. Raises InputError, one line, for a missing or different file."""
        import torch  # slow to import, and our own predictor does not need it

        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            stored = stored.get("state_dict", stored)
            base = float(stored.get("base_acc", 0.0))  # the library's class adds it; the tutorial's has a bias instead
            matrices = {name: t.numpy().astype(np.float32) for name, t in stored.items() if name != "base_acc"}
            layers = []
            for weight in (name for name in matrices if name.endswith("weight")):
                w = matrices[weight]
                bias = weight.removesuffix("weight") + "bias"
                layers.append((np.ascontiguousarray(w.T), matrices.get(bias, np.zeros(len(w), np.float32))))
            sizes = [w.shape for w, _ in layers]
            if len(sizes) < 2 or sizes[-1][1] != 1 or any(a[1] != b[0] for a, b in pairwise(sizes)):
                raise InputError(f"layers of {sizes}")
            layers[-1] = (layers[-1][0], layers[-1][1] + np.float32(base))
            return cls(layers)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except Exception as error:  # torch raises many types of error for a broken or unsafe file
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: not the official accuracy predictor ({reason})") from None

    def save(self, path: str | Path) -> None:
        """Writes layers and space as .npz, which `AccuracyPredictor.load` reads. Equal predictors give equal bytes."""
        arrays = {f"{name}{i}": array for i, layer in enumerate(self.layers) for name, array in zip(NAMES, layer, strict=True)}
        with files.replacing(path) as temporary, temporary.open("wb") as f:
            np.savez(f, allow_pickle=False, space=np.array(json.dumps(self.space.description())), **arrays)

    @classmethod
    def from_fields(cls, fields: Mapping[str, np.ndarray]) -> "OfficialPredictor":
        """From the arrays of a file that `save` wrote, by name."""
        count = sum(name.startswith(NAMES[0]) for name in fields)
        layers = [(fields[f"{NAMES[0]}{i}"], fields[f"{NAMES[1]}{i}"]) for i in range(count)]
        return cls(layers, space_of(json.loads(str(fields["space"]))))

    def predict(self, archs: Sequence[Arch]) -> np.ndarray:
        """Expected top-1 in 0..1 (n,). Raises InputError for an architecture that is not in ofa_mbv3."""
        return self.predict_codes(*self.space.encode(archs))

    def predict_codes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Expected top-1 in 0..1 (n,) of encoded architectures: codes (n, genes), resolutions (n,).

        Raises InputError for a resolution outside 112..239.
        """
        predicted = np.empty(len(codes))
        for rows in _chunks(len(codes)):
            predicted[rows] = self._forward(codes[rows], resolutions[rows])[-1][:, 0]
        return predicted

    def slopes(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:
        """Partial derivatives of the prediction with respect to the one-hot inputs, float32 (n, genes, most choices).

        Their differences estimate the effect of other choices. Slopes of depths are 0: depths only show in which blocks exist.
        """
        most = max(len(gene.choices) for gene in self.space.genes)
        slopes = np.zeros((len(codes), len(self.space.genes), most), np.float32)
        for rows in _chunks(len(codes)):
            activations = self._forward(codes[rows], resolutions[rows])
            gradient = np.broadcast_to(self.layers[-1][0].T, activations[-2].shape)
            for (weight, _), after in zip(self.layers[-2::-1], activations[-2::-1], strict=True):
                gradient = (gradient * (after > 0)) @ weight.T  # (n, inputs of the layer)
            for gene, columns in zip(self._elastic, self._columns, strict=True):
                count = len(self.space.genes[gene].choices)
                slopes[rows, gene, :count] = gradient[:, columns[:count]]
        return slopes

    def _forward(self, codes: np.ndarray, resolutions: np.ndarray) -> list[np.ndarray]:
        """The output of every layer, after the ReLU for hidden layers."""
        x, activations = self._inputs(codes, resolutions), []
        for i, (weight, bias) in enumerate(self.layers):
            x = x @ weight
            x += bias
            if i < len(self.layers) - 1:
                np.maximum(x, 0, out=x)
            activations.append(x)
        return activations

    def _inputs(self, codes: np.ndarray, resolutions: np.ndarray) -> np.ndarray:  # (n, 128)
        step = (np.asarray(resolutions) - FIRST_RESOLUTION) // RESOLUTION_STEP
        foreign = (step < 0) | (step >= RESOLUTIONS)
        if foreign.any():
            last = FIRST_RESOLUTION + RESOLUTION_STEP * RESOLUTIONS - 1
            raise InputError(
                f"r: {resolutions[foreign.argmax()]}: the official predictor covers {FIRST_RESOLUTION} to {last} pixels"
            )
        x = np.zeros((len(codes), len(self.layers[0][0])), np.float32)
        rows = np.arange(len(codes))[:, None]
        columns = self._columns[np.arange(len(self._columns)), codes[:, self._elastic]]
        x[rows, columns] = present_genes(self.space, codes)[:, self._elastic]
        x[rows[:, 0], x.shape[1] - RESOLUTIONS + step] = 1
        return x


def _is_part(space: Space, whole: Space) -> bool:
    """Whether a space has the genes of another one, each with some of its choices."""
    return [gene[:2] for gene in space.genes] == [gene[:2] for gene in whole.genes] and all(
        set(own.choices) <= set(known.choices) for own, known in zip(space.genes, whole.genes, strict=True)
    )


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
