"""Profiles: their statements are true, they merge with the default, and `ofa profile` writes or rejects them."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from ofa_core.commands.main import main
from ofa_core.profiles.check import check
from ofa_core.profiles.profile import DEFAULT, complete, lost, names, write
from ofa_core.profiles.sections import SECTIONS, entries
from ofa_core.run.params import ParamsFile
from ofa_core.space.params import SpaceParams
from ofa_core.training.params import ShrinkParams, TrainingParams, TrainSupernetParams
from tests.conftest import REPO

PROFILES = sorted(
    path.relative_to(REPO) for pattern in ("params/*.yaml", "studies/*/params.yaml") for path in REPO.glob(pattern)
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's parameter files in a new folder, which is the current one."""
    tables = [path.relative_to(REPO) for path in (REPO / "params").glob("*.json")]
    for path in [Path("params.yaml"), Path("data/images.index"), Path("data/detection.index"), *PROFILES, *tables]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ofa(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """A command's exit code and output on both streams."""
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out + err


@pytest.mark.parametrize("path", PROFILES, ids=str)
def test_every_profile_completes_the_default(path: Path, repository: Path) -> None:
    params = complete(path)
    assert list(params.content) == list(SECTIONS)
    if path != DEFAULT:
        assert set(ParamsFile(path).content) < set(SECTIONS)
        assert params.text.count("\n\n") == DEFAULT.read_text().count("\n\n")
        for section, content in ParamsFile(path).content.items():  # each key differs from the default
            if not isinstance(content, Mapping):
                assert content != DEFAULTS[section]
                continue
            changed = {line.split(":")[0].split(".")[1] for line in lost({section: content}, DEFAULTS)}
            changed |= {key for key, value in content.items() if value == {} != DEFAULTS[section][key]}
            unchanged = set(content) - changed
            assert not unchanged, f"{path}: {section}: {unchanged} as in {DEFAULT}"


DEFAULTS = ParamsFile(REPO / DEFAULT).content


@pytest.mark.parametrize("path", PROFILES, ids=str)
def test_a_profile_begins_with_what_to_expect(path: Path) -> None:
    head = (REPO / path).read_text().split("\n\n")[0]
    schema = "params" if path == DEFAULT else "profile"
    assert (
        head.splitlines()[0] == f"# yaml-language-server: $schema={os.path.relpath('docs', path.parent)}/{schema}.schema.json"
    )
    name = path.stem if path.parent == Path("params") else str(path)
    for what in (f"command    ofa profile {name} &&", "hardware   ", "time       ", "result     "):
        assert f"#   {what}" in head


def test_params_yaml_is_the_default_profile(repository: Path) -> None:
    expected = Path("params.yaml").read_bytes()
    written = write("default", Path("params.yaml"))
    assert written.lost == []
    assert Path("params.yaml").read_bytes() == expected
    # Merging nothing keeps every byte: the default has the written form.
    Path("nothing.yaml").write_text("# Nothing.\nseed: 0\n")
    body = complete(Path("nothing.yaml")).text.partition("\n\n")[2]
    assert body == DEFAULT.read_text().partition("\n\n")[2]


def test_mappings_merge_but_for_those_with_names_of_ones_own(repository: Path) -> None:
    assert list(entries()) == [
        "shrink.phases", "build_latency_table.devices", "search.targets", "train_baselines.networks", "train_baselines.subnets",
        "build_detector_table.devices", "search_detector.targets",
    ]  # fmt: skip
    Path("mine.yaml").write_text(
        "# Mine.\n"
        "training: {threads: 3}  # three\n"
        "export:\n"
        "  choose_float: {images: 7, max_slowdown: 1.2, min_agreement: 0.9}  # seven\n"
        "# Targets.\n"
        "search:\n"
        "  targets:\n"
        "    small:   # the smallest\n"
        "      fraction: 0\n"
        "      device: null\n"
        "\n"
        "# The end.\n"
    )
    params = complete(Path("mine.yaml"))
    assert params.raw("training") == DEFAULTS["training"] | {"threads": 3}
    assert params.raw("search") == DEFAULTS["search"] | {"targets": {"small": {"fraction": 0, "device": None}}}
    assert params.raw("export.choose_float.images") == 7
    head, *sections = params.text.split("\n\n")
    assert head.splitlines()[1] == "# Mine."
    assert len(sections) == len(SECTIONS)  # a blank line before each
    assert "  threads: 3               # 0: all cores\n" in params.text
    assert "min_agreement: 0.9}  # seven\n  calibration_images: 200\n" in params.text
    assert (
        "  candidates: 20           # best networks listed for each target\n  targets:\n    small:   # the smallest\n"
        in params.text
    )
    assert "      device: null\n\nchoose:\n" in params.text
    for absent in ("Targets.", "The end.", "three"):  # from other lines of the profile
        assert absent not in params.text


def test_what_is_overwritten_is_told(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = ofa(capsys, "profile", "default")
    assert (code, out.splitlines()) == (0, ["params.yaml: written from params/default.yaml", "  no value changed"])
    text = Path("params.yaml").read_text()
    text = text.replace("batch_size: 64", "batch_size: 128").replace("    fast: {", "    slow: {device: host, ")
    text = text.replace("calibration: minmax", "calibration: mse", 1).replace("[uint8, float, onnx, torch]", "[uint8]")
    Path("params.yaml").write_text(text.replace("flip: false", "flip: true").replace("folder: null", "folder: 3", 1))
    code, out = ofa(capsys, "profile", "default", "--json")
    assert code == 0
    assert json.loads(out)["lost"] == [
        "training.batch_size: 128 -> 64",
        "training.flip: true -> false",
        "prepare.folder: 3 -> null",
        "search.targets.slow.device: host -> gone",
        "search.targets.slow.fraction: 0.25 -> gone",
        "export.formats: [uint8] -> [uint8, float, onnx, torch]",
        "export.calibration: mse -> minmax",
    ]
    Path("params.yaml").write_text("a: [1")
    code, out = ofa(capsys, "profile", "ci")
    assert code == 0
    assert "  params.yaml: not YAML: " in out
    check("params.yaml")


def test_another_file(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("params.yaml").read_bytes()
    code, out = ofa(capsys, "profile", "studies/front/params.yaml", "--out", "new/mine.yaml")
    assert (code, out) == (0, "new/mine.yaml: written from studies/front/params.yaml\n")
    assert Path("new/mine.yaml").read_text().startswith("# yaml-language-server: $schema=../docs/params.schema.json\n")
    check("new/mine.yaml")
    assert Path("params.yaml").read_bytes() == before


def test_list(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = ofa(capsys, "profile", "--list")
    assert code == 0
    assert (
        [line.split()[0] for line in out.splitlines()]
        == [path.stem for path in PROFILES if path.parent == Path("params")]
        == list(names())
    )
    assert "ci                 The profile of the test suite: every stage on a fraction of the images." in out.splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "mine.yaml: no such file"),
        ("training: {bacth_size: 3}", "mine.yaml: training.bacth_size: unknown key"),
        ("training: {launcher: python}", "mine.yaml: training.launcher: unknown key; it is machine.launcher now"),
        ("training: null", "mine.yaml: training"),
        ("trainings: {}", "mine.yaml: trainings: unknown section"),
        ("search: {targets: {}}", "mine.yaml: search.targets: {}: dictionary should have at least 1 item"),
        ("shrink: {phases: {all: {init: full}}}", "mine.yaml: shrink.phases.all.roles: missing (and 4 more)"),
        ("search: {device: phone}", "mine.yaml: search.device: phone: allowed are host"),
        ("detectors: []", "mine.yaml: search_detector.targets: small: there must be no target, for detectors is empty"),
        ("search_detector: {targets: {}}", "mine.yaml: search_detector.targets: empty: there must be at least one target"),
        ("search_detector: {device: phone}", "mine.yaml: search_detector.device: phone: allowed are host"),
        ("detector: {taps: [block_9]}", "mine.yaml: detector.taps: block_9 is not a point of the backbone"),
        ("train_detector: {init: build/x}", "mine.yaml: train_detector.init: build/x: no such file, nor one of build/pretr"),
        ("prepare_detection: {dataset: voc}", "mine.yaml: prepare_detection.tracked: build/data: must be data/detection.index"),
        ("seed: 1\nseed: 2", "mine.yaml: not YAML: "),
        ("- 1", "mine.yaml: not a mapping of sections"),
    ],
)
def test_mistakes_write_nothing(
    repository: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    before = Path("params.yaml").read_bytes()
    if content is not None:
        Path("mine.yaml").write_text(content)
    for command in ("profile", "check"):
        code, out = ofa(capsys, command, "mine.yaml")
        assert code == 2
        assert out.startswith(f"error: {message}")
        assert out.count("\n") == 1
    assert Path("params.yaml").read_bytes() == before
    assert not list(repository.glob(".params*"))


def test_unknown_names(repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ofa(capsys, "profile", "cifar")[1].startswith(
        "error: cifar: no such profile; there are ci, cifar10, default, fashion_mnist_gpu,"
    )
    assert ofa(capsys, "profile") == (2, "error: name: missing; `ofa profile --list` shows the profiles\n")
    (repository / "elsewhere").mkdir()
    monkeypatch.chdir(repository / "elsewhere")
    assert ofa(capsys, "profile", "ci")[1].startswith("error: params/default.yaml: no such file; ")


def test_check_knows_profiles_from_what_the_pipeline_reads(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ofa(capsys, "check", "params/ci.yaml") == (0, "params/ci.yaml: OK, as a profile\n")
    assert ofa(capsys, "check", "studies/front/params.yaml")[1].endswith("OK, as a profile\n")
    assert ofa(capsys, "check") == (0, "params.yaml: OK\n")
    # Stages need complete files, here or next to another dvc.yaml. The default must be one too.
    for path in (Path("params.yaml"), Path("other/params.yaml"), DEFAULT):
        path.parent.mkdir(exist_ok=True)
        path.with_name("dvc.yaml").touch()
        path.write_text(Path("params/default.yaml").read_text().replace("  momentum: 0.9\n", ""))
        assert ofa(capsys, "check", str(path)) == (2, f"error: {path}: training.momentum: missing\n")
        shutil.copy(REPO / DEFAULT, DEFAULT)


def test_the_imagenet_profile_is_the_published_schedule(repository: Path) -> None:
    """Once-for-All's: 605 epochs. The sub-networks of all steps see 1,205 epochs of images."""
    profile = complete(Path("params/imagenet.yaml"))
    assert list(profile.read("space", SpaceParams).resolutions) == list(range(128, 225, 4))
    full, phases = profile.read("train_supernet", TrainSupernetParams), profile.read("shrink", ShrinkParams).phases
    assert full.epochs + sum(phase.epochs for phase in phases.values()) == 605
    assert full.epochs + sum(phase.epochs * phase.roles["middle"].subnets for phase in phases.values()) == 1205
    # Rates were given for each of 32 GPUs with 64 images.
    shared = profile.read("training", TrainingParams)
    assert shared.batch_size == 32 * 64
    assert [phase.lr for phase in phases.values()] == pytest.approx([32 * r for r in (3e-2, 2.5e-3, 7.5e-3, 2.5e-3, 7.5e-3)])
    assert [phase.warmup_epochs for phase in phases.values()] == [5, 0, 5, 0, 5]
    assert shared.crop_scale == (0.08, 1)
    assert shared.brightness == pytest.approx(32 / 255, abs=1e-3)


def test_changed_images_with_boxes_are_told(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("boxes").mkdir()
    Path("boxes/0.xml").write_text("<annotation/>")
    own = "{dataset: voc, folder: boxes, tracked: data/detection.index, val_images: 1, test_images: 1, unlabelled_images: 0}"
    Path("mine.yaml").write_text(f"prepare_detection: {own}\n")
    changed = "data/detection.index: changed, so `dvc repro` prepares the images again\n"
    assert ofa(capsys, "profile", "mine.yaml")[1].endswith(changed)
    assert ofa(capsys, "check") == (0, "params.yaml: OK\n")
    Path("boxes/1.xml").write_text("<annotation/>")
    assert ofa(capsys, "check") == (0, f"params.yaml: OK\n{changed}")
