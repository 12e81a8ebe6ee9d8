"""Stage examine: labels that are probably wrong, by the features of the weights that training starts from."""

import numpy as np
import torch

from ofa_core.examine.examine import examine
from ofa_core.images.packed import SPLITS
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import transfer
from ofa_core.run import files, paths
from ofa_core.run.errors import InputError
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.evaluation import use_threads
from ofa_core.training.images import Images
from ofa_core.training.linear import features

SHORTEST = 160
"""Pixels to which smaller images are enlarged: ImageNet's features say little about smaller ones."""


def main() -> None:
    """Writes reports/examine/: labels.json, and labels.png if a label is suspicious."""
    with running("examine") as stage:
        seed, init = stage.params.read("seed", int), stage.params.read("train_supernet.init", str | None)
        space = stage.params.read("space", SpaceParams).build()
        use_threads(stage.params.read("training.threads", int))
        dataset, names = stage.input(paths.DATASET), files.read_json(stage.input(paths.IMAGE_NAMES))
        report, sheet = dict[str, object](checked=False), None
        if init is not None:
            splits = [Images(dataset, split) for split in SPLITS]
            net = build_supernet(space, len(splits[0].classes))
            transfer(stage.input(paths.STARTING), net)
            side = max(SHORTEST, splits[0].images.shape[1])
            found = [features(net, images, side - side % 4) for images in splits]
            x, labels = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
            titles = [f"{split}/{i}" for split, images in zip(SPLITS, splits, strict=True) for i in range(len(images))]
            titles = [name for split in SPLITS for name in names[split]] if names else titles
            try:
                found_labels, sheet = examine(_Joined(splits), labels, splits[0].classes, x, titles, seed)
                report = {"checked": True} | found_labels
            except InputError as error:  # too few images of a class to judge the others by
                report |= {"reason": str(error)}
        with files.replacing_folder(paths.REPORTS / "examine") as folder:
            files.write_json(folder / "labels.json", report)
            if sheet is not None:
                (folder / "labels.png").write_bytes(sheet)


class _Joined:
    """The images of all splits, one after the other."""

    def __init__(self, splits: list[Images]) -> None:
        self.splits, self.ends = splits, np.cumsum([len(images) for images in splits])

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:  # (n,) -> (n, H, W, C)
        places = np.searchsorted(self.ends, indices, side="right")
        starts = np.concatenate([[0], self.ends])
        return np.stack([self.splits[p].images[np.array([i - starts[p]])][0] for p, i in zip(places, indices, strict=True)])


if __name__ == "__main__":
    exit_cleanly(main)
