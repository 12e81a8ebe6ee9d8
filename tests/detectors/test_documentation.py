"""docs/detection.md: its program runs from annotated photos to a file that the commands take."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from ofa_core.nn.network import build_supernet
from ofa_core.nn.weights import describe, save_weights
from ofa_core.runtime.contract import violations
from ofa_core.space.registry import get_space
from tests.conftest import REPO, shared_data


def test_the_program_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, but for three steps instead of twenty epochs, and random weights instead of a download."""
    photos = shared_data("images/raccoon.zip")
    [program] = re.findall(r"```python\n(.+?)```", (REPO / "docs/detection.md").read_text(), re.DOTALL)
    for before, after in {
        "photos.zip": str(photos),
        "epochs=20, warmup_epochs=1": "epochs=0.2, warmup_epochs=0",
        "(160, 192, 224)": "(96, 160)",
        "bn_images=128": "bn_images=8",
    }.items():
        assert program.count(before) == 1
        program = program.replace(before, after)
    (tmp_path / "params.yaml").write_text((REPO / "params/default.yaml").read_text())
    (tmp_path / "program.py").write_text(program)
    torch.manual_seed(0)
    net = build_supernet(get_space("ofa_lite"), 1000)
    save_weights(tmp_path / "build/pretrained/efficientnet_lite0.safetensors", net, describe(net, net.space))
    monkeypatch.chdir(tmp_path)
    runpy.run_path("program.py")
    assert "'train': 130" in (out := capsys.readouterr().out), out
    assert "map on val:" in out
    assert violations(Path("detector.tflite"), "detection") == []
    assert Path("detector.labels.txt").read_text() == "raccoon\n"
