"""Strict reading of params.yaml: each mistake gives one line with the key, the value and what is allowed."""

from pathlib import Path

import pytest

from ofa_core.profiles.check import check
from ofa_core.run.params import ParamsFile
from ofa_core.space.params import SpaceParams
from tests.conftest import REPO


def edited(folder: Path, old: str, new: str) -> Path:
    """The default profile with one edit."""
    text = (REPO / "params.yaml").read_text()
    assert text.count(old) >= 1
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nseed: 0", "\nsead: 0", "sead: unknown section"),
        ("\nseed: 0", "\nseed: '0'", "seed: '0': input should be a valid integer"),
        ("  momentum: 0.9\n", "", "training.momentum: missing"),
        ("  momentum: 0.9", "  momentum: 0.9\n  momentums: 1", "training.momentums: unknown key"),
        ("  momentum: 0.9", "  momentums: 0.9", "training.momentums: unknown key (and 1 more)"),
        ("momentum: 0.9", "momentum: 1.5", "training.momentum: 1.5: input should be less than 1"),
        ("momentum: 0.9", "momentum: .nan", "training.momentum"),
        ("momentum: 0.9", "momentum: yes", "training.momentum: 'yes': input should be a valid number"),
        (
            "  momentum: 0.9",
            "  momentum: 0.9\n  launcher: python",
            "training.launcher: unknown key; it is machine.launcher now",
        ),
        ("launcher: python ", "launcher: bash ", "machine.launcher: 'bash': string should match pattern"),
        ("batch_size: 64", "batch_size: 12.5", "training.batch_size: 12.5: input should be a valid integer"),
        ("name: ofa_small ", "name: ofa_tiny ", "space.name: 'ofa_tiny' is not one of ofa_mbv3, ofa_proxyless, ofa_small"),
        ("[24, 28]", "[20, 22]", "space.resolutions: [20, 22] are not ascending multiples of 4"),
        ("init: full", "init: kernels", "shrink.phases.all.init: kernels does not lead back to full"),
        ("init: full", "init: all", "shrink.phases.all.init: all does not lead back to full"),
        ("last: all", "last: some", "shrink.last: some is not one of all"),
        ("teacher: none", "teacher: full", "shrink.phases.all.teacher: full: has no pupil"),
        ("init: full", "init: full\n      kernel_sizes: [3, 4]", "shrink.phases.all.kernel_sizes: 4: allowed are 3, 5"),
        ("init: full", "init: full\n      depths: [4]", "shrink.phases.all.depths: 4: allowed are 1, 2, 3"),
        ("device: host", "device: pixel", "search.device: pixel: allowed are host"),
        ("fast: {", "fast: {device: pixel, ", "search.targets.fast.device: pixel: allowed are host"),
        (
            "objective: top1 ",
            "objective: int8 ",
            "search.objective: 'int8': input should be 'top1', 'int8_top1' or 'lower_bound'",
        ),
        ("int8_architectures: 0", "int8_architectures: 5", "int8_architectures: 5 is not 0, or 20 to architectures (54)"),
        ("fraction: 0.", "latency: 0.", "unknown key"),
        ("source: measure", "source: file", "build_latency_table.devices.host.file: source is file"),
        ("crop_scale: null", "crop_scale: [1, 0.5]", "training.crop_scale: [1.0, 0.5] is not ascending"),
        ("crop_scale: null", "crop_scale: [0, 1]", "training.crop_scale[0]: 0: input should be greater than 0"),
        ("shards: null", "shards: png", "prepare.shards: png: must be null; dataset fashion_mnist fits in memory"),
        ("dataset: fashion_mnist", "dataset: cifar", "prepare.folder: null: dataset cifar needs one"),
        ("formats: [uint8, float", "formats: [int4, float", "export.formats[0]: 'int4': input should be 'uint8', 'int8'"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".*") as error:
        check(edited(tmp_path, old, new))
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "params.yaml"))
    assert "\n" not in str(error.value)


def test_numbers_follow_yaml_1_2(tmp_path: Path) -> None:
    path = edited(tmp_path, "weight_decay: 3.0e-5", "weight_decay: 3e-5")
    check(path)
    assert ParamsFile(path).raw("training.weight_decay") == 3e-5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("a: [1", "not YAML"),
        ("- 1", "not a mapping"),
        ("a: 1\na: 2", "not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_broken_files(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        check(path)
    assert "\n" not in str(error.value)


def test_changed_sections_are_noticed(tmp_path: Path) -> None:
    path = edited(tmp_path, "seed: 0", "seed: 0")
    params = ParamsFile(path)
    params.read("space", SpaceParams)
    path.write_text(path.read_text().replace("batch_size: 64", "batch_size: 32"))
    assert params.changed() == []  # a section that was not read
    path.write_text(path.read_text().replace("width_mult: 1.0", "width_mult: 0.5"))
    assert params.changed() == ["space"]
