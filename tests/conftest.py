"""What tests share: the place of real data, and skips if a clone has none."""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings

from ofa_core.datasets import fashion_mnist
from ofa_core.images.packed import pack
from ofa_core.run.errors import InputError
from ofa_core.space.arch import Arch

# Networks in tests are tiny: on a busy machine, threads wait for each other far longer than they work.
torch.set_num_threads(1)
# A busy machine must not fail a test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

REPO = Path(__file__).resolve().parent.parent


def shared_data(relative: str) -> Path:
    """The path of a file of the shared test data; skips the test if there is none.

    It is in the folder that OFA_SHARED_DATA names, or else in ../shared/data next to the repository.
    """
    folder = Path(os.environ.get("OFA_SHARED_DATA") or REPO.parent / "shared" / "data")
    path = folder / relative
    if not path.exists():
        pytest.skip(f"needs {relative} in ../shared/data or in the folder that OFA_SHARED_DATA names")
    return path


def arch_of(row: pd.Series) -> Arch:
    """The architecture of a row of ofa_mbv3_w1.0_imagenet_top1.csv: lists are numbers separated by spaces."""
    ks, e, d = (tuple(int(number) for number in row[key].split()) for key in ("ks", "e", "d"))
    return Arch(ks, e, d, int(row["r"]))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred images of Fashion-MNIST, packed."""
    folder = tmp_path_factory.mktemp("data")
    try:
        raw = fashion_mnist.load(folder / "raw")
    except InputError as error:
        pytest.skip(f"Fashion-MNIST is not to be had: {error}")
    images, labels = raw.train_images[:640], raw.train_labels[:640]
    parts = {"train": slice(0, 320), "val": slice(320, 480), "test": slice(480, 640)}
    pack(folder / "data.npz", {name: (images[part], labels[part]) for name, part in parts.items()}, fashion_mnist.CLASSES)
    return folder / "data.npz"
