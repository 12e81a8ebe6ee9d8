"""Tables from YAML files: read strictly, pinned in the parameters, and kept in everything that is made from them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_core.nn import build_supernet
from ofa_core.nn.weights import describe, load_network, save_network
from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.run import files
from ofa_core.space.params import SpaceParams
from ofa_core.space.registry import MB_TABLES, get_space, read_table
from tests.conftest import REPO
from tests.networks import ELASTIC, logits

EXAMPLE = REPO / "params/spaces/ofa_small_k7.yaml"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a table of elastic widths, in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = Path("own.yaml")
    path.write_text(json.dumps(ELASTIC.to_dict()))  # JSON is YAML
    return path


def test_the_example_is_the_shipped_table() -> None:
    assert read_table(str(EXAMPLE)) == MB_TABLES["ofa_small_k7"]
    space = get_space(str(EXAMPLE))
    assert space.cost(space.largest()) == get_space("ofa_small_k7").cost(space.largest())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kernel_sizes: [3, 5, 7]", "kernel_sizes: [3, 4]", r"stages\[0\]\.kernel_sizes: 4 is not odd"),
        ("kernel_sizes: [3, 5, 7]", "kernel_sizes: [5, 3]", r"stages\[0\]\.kernel_sizes: \[5, 3\] are not ascending"),
        ("kernel_sizes: [3, 5, 7]", "kernel_sizes: [3.5]", r"stages\[0\]\.kernel_sizes\[0\]: 3\.5: input should be"),
        ("expand_ratios: [3, 4, 6]", "expand_ratios: [1, 3]", r"stages\[0\]\.expand_ratios: \[1, 3\]: 1 stands alone"),
        (
            "expand_ratios: [3, 4, 6]",
            "expand_ratios: [1.05]",
            r"stages\[0\]\.expand_ratios: 1\.05 times 16 channels is rounded",
        ),
        ("depths: [2, 3, 4]", "depths: []", r"stages\[0\]\.depths: \[\] are not"),
        ("depths: [2, 3, 4], ", "", r"stages\[0\]\.depths: missing"),
        ("stride: 1, ", "stride: 3, ", r"stages\[0\]\.stride: 3 is not 1 or 2"),
        ("se: false", "se: no, swish: true", r"stages\[0\]\.swish: unknown key"),
        ("act: relu6, residual", "act: swish, residual", r"first\.act: 'swish': input should be"),
        ("mix_widths: [256]", "mix_widths: [256, 128]", r"head\.mix_widths: \[256, 128\] are not ascending"),
        ("bn_eps: 1.0e-5", "bn_eps: 0", r"bn_eps: 0\.0 is not between"),
        ("resolutions: [20, 24, 28]", "resolutions: [20, 22]", r"resolutions: \[20, 22\] are not ascending multiples of 4"),
        ("width_mult: 1.0\n", "", "width_mult: missing"),
    ],
)
def test_mistakes_name_file_row_and_field(own: Path, old: str, new: str, message: str) -> None:
    assert old in EXAMPLE.read_text()
    own.write_text(EXAMPLE.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"^name: own\.yaml: {message}[^\n]*$"):
        get_space("own.yaml")


def test_one_encoding_for_each_network_of_six_stages(own: Path) -> None:
    """`Arch` reads the sixth depth of ofa_proxyless as 1, so no table of that shape may have another one."""
    stage = EXAMPLE.read_text().splitlines()[8]
    own.write_text(EXAMPLE.read_text().replace(stage, "\n".join([stage, *[stage.replace("2, 3, 4", "2, 3")] * 3]), 1))
    with pytest.raises(ValueError, match=r"own\.yaml: stages\[5\]\.depths: must be \[1\]"):
        get_space("own.yaml", resolutions=[64])


def test_a_missing_file_and_one_that_is_no_table(own: Path) -> None:
    with pytest.raises(ValueError, match=r"^name: spaces/none: no such file$"):
        get_space("spaces/none")
    own.write_text("- 1\n")
    with pytest.raises(ValueError, match=r"^name: own\.yaml: not a mapping"):
        get_space("own.yaml")
    with pytest.raises(ValueError, match=r"^table: stem: missing"):
        get_space("own.yaml", table={key: value for key, value in ELASTIC.to_dict().items() if key != "stem"})


def test_the_file_is_pinned(own: Path) -> None:
    fields = {"width_mult": 1.0, "resolutions": (16, 20)}
    params = SpaceParams(name="own.yaml", file_md5=files.md5(own), **fields)
    assert params.build().genes == ELASTIC.space("own").genes
    own.write_text(own.read_text() + "\n")
    with pytest.raises(ValueError, match=rf"^file_md5: {params.file_md5}: the MD5 of own\.yaml is {files.md5(own)}$"):
        params.build()
    for wrong in ({"name": "own.yaml", "file_md5": None}, {"name": "ofa_small", "file_md5": params.file_md5}):
        with pytest.raises(ValueError, match="file_md5: goes with a path as name; both or none"):
            SpaceParams(**fields, **wrong)


def test_weights_and_predictors_outlive_the_file(own: Path) -> None:
    space = get_space("own.yaml").restrict({"ks": [3]})
    torch.manual_seed(0)
    net = build_supernet(space, 4).eval()
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(20)]
    save_network("net.safetensors", net.extract(archs[0]), archs[0], describe(net, space))
    predictor = AccuracyPredictor.fit(space, archs, rng.uniform(0.5, 0.9, 20))
    predictor.save("top1.npz")
    own.unlink()
    loaded, arch = load_network("net.safetensors")
    assert arch == archs[0]
    assert torch.allclose(logits(loaded, arch), logits(net, arch), atol=1e-5)
    again = AccuracyPredictor.load("top1.npz")
    assert (again.space.name, again.space.genes) == ("own.yaml", space.genes)
    assert np.allclose(again.predict(archs), predictor.predict(archs))
