"""The published accuracy predictor: its predictions, its slopes, and files of other kinds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.latency import LatencyTable
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.features import present_genes
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.space.arch import Arch
from ofa_core.space.registry import get_space
from tests.conftest import shared_data


@pytest.fixture(scope="module")
def official() -> OfficialPredictor:
    predictor = AccuracyPredictor.load(shared_data("ofa/acc_predictor.pth"))
    assert isinstance(predictor, OfficialPredictor)
    return predictor


def test_predictions_of_the_published_code(official: OfficialPredictor) -> None:
    rows = json.loads(shared_data("ofa/note10_predictions.json").read_text())
    archs = [Arch.from_dict(row["arch"]) for row in rows]
    np.testing.assert_allclose(official.predict(archs), [row["accuracy"] for row in rows], atol=1e-6, rtol=0)
    table = LatencyTable.load(shared_data("ofa/note10"))
    latency = table.predict_many(official.space, archs)
    np.testing.assert_allclose(latency, [row["note10_ms"] for row in rows], atol=1e-6, rtol=0)


def test_batches_and_skipped_blocks(official: OfficialPredictor) -> None:
    space, rng = official.space, np.random.default_rng(0)
    codes = np.stack([rng.integers(len(gene.choices), size=3000) for gene in space.genes], axis=1)
    resolutions = rng.choice(space.resolutions, 3000)
    together = official.predict_codes(codes, resolutions)
    assert len(together) == 3000
    alone = official.predict(space.decode(codes[2900:2910], resolutions[2900:2910]))
    np.testing.assert_allclose(together[2900:2910], alone, atol=1e-6)
    skipped = ~present_genes(space, codes)
    other = np.where(skipped, (codes + 1) % 3, codes)
    np.testing.assert_array_equal(official.predict_codes(other, resolutions), together)


def test_slopes_are_the_gradient(official: OfficialPredictor) -> None:
    state = torch.load(shared_data("ofa/acc_predictor.pth"), map_location="cpu", weights_only=True)
    x = torch.zeros(1, 128)
    arch = official.space.largest(192)
    x[0, 2:120:3] = 1  # the last of three choices for every kernel size and expand ratio
    x[0, 120 + (192 - 112) // 16] = 1
    x.requires_grad_(True)
    hidden = x
    for i in (0, 2, 4):
        hidden = (hidden @ state[f"{i}.weight"].T + state[f"{i}.bias"]).relu()
    (hidden @ state["6.weight"].T).sum().backward()
    assert x.grad is not None
    slopes = official.slopes(*official.space.encode([arch]))
    np.testing.assert_allclose(slopes[0, :40].ravel(), x.grad[0, :120], atol=1e-7)
    assert (slopes[0, 40:] == 0).all()


def test_a_part_of_the_space_of_another_width_on_disk(official: OfficialPredictor, tmp_path: Path) -> None:
    """Fewer choices shift the codes, not the predictions; slopes are those of the choices that are left."""
    part = get_space("ofa_mbv3", 1.0, (160, 224)).restrict({"ks": (5, 7), "e": (3, 6), "d": (3, 4)})
    official.restricted(part).save(tmp_path / "part.npz")
    found = AccuracyPredictor.load(tmp_path / "part.npz")
    assert isinstance(found, OfficialPredictor)
    assert found.space.description() == part.description()
    archs = [part.sample(np.random.default_rng(i)) for i in range(50)]
    np.testing.assert_array_equal(found.predict(archs), official.predict(archs))
    slopes, all_slopes = (predictor.slopes(*predictor.space.encode(archs)) for predictor in (found, official))
    for i, (own, published) in enumerate(zip(part.genes, official.space.genes, strict=True)):
        columns = [published.choices.index(choice) for choice in own.choices]
        np.testing.assert_array_equal(slopes[:, i, : len(columns)], all_slopes[:, i, columns])
    with pytest.raises(
        ValueError, match=r"space\.name: ofa_proxyless: the official predictor knows sub-networks of ofa_mbv3 alone"
    ):
        official.restricted(get_space("ofa_proxyless"))


def test_the_library_s_layout(official: OfficialPredictor, tmp_path: Path) -> None:
    """The layout of the published class: a head without bias, base_acc beside it, wrapped in state_dict."""
    state = torch.load(shared_data("ofa/acc_predictor.pth"), map_location="cpu", weights_only=True)
    bias = state.pop("6.bias")
    torch.save({"state_dict": {"base_acc": bias, **state}}, tmp_path / "p.pth")
    archs = [official.space.sample(np.random.default_rng(i)) for i in range(5)]
    again = AccuracyPredictor.load(tmp_path / "p.pth")
    np.testing.assert_allclose(again.predict(archs), official.predict(archs), atol=1e-7)


def test_foreign_files_and_resolutions(official: OfficialPredictor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pth: no such file"):
        AccuracyPredictor.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match=r"text\.pth: not the official accuracy predictor"):
        AccuracyPredictor.load(tmp_path / "text.pth")
    torch.save({"0.weight": torch.zeros(4, 100), "2.weight": torch.zeros(1, 4)}, tmp_path / "small.pth")
    with pytest.raises(ValueError, match="100 inputs, not 128"):
        AccuracyPredictor.load(tmp_path / "small.pth")
    torch.save([official], tmp_path / "object.pth")
    with pytest.raises(ValueError, match="not the official"):
        AccuracyPredictor.load(tmp_path / "object.pth")
    with pytest.raises(ValueError, match="r: 240: the official predictor covers 112 to 239 pixels"):
        official.predict([official.space.largest(240)])
