"""`ofa make` as it is called: mistakes end with one line before anything is written, a dry run writes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ofa_core.commands.main import main
from tests.conftest import REPO
from tests.make.photos import some
from tests.pictures import folder


def listed(top: Path) -> list[str]:
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*"))


def test_a_dry_run_says_the_plan_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = some(tmp_path / "photos", 40)
    monkeypatch.chdir(tmp_path)
    before = listed(tmp_path)
    assert main(["make", "photos", "--ms", "0.5", "0.02", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["photos", "look", "use", "train", "time"]
    assert lines[0] == f"photos   120 photos of 3 classes in {photos}"
    assert lines[1].startswith(
        "look     shorter side 32 pixels; colour; 0 of 120 looked at are broken; 40 photos a class or more"
    )
    assert lines[2].startswith("use      80 to train on, 20 for val (held out), 20 for test (held out); stored at 32 pixels")
    assert lines[3].endswith("2 models of at most 0.02, 0.5 ms on this machine")
    assert " minutes here, at " in lines[4] or " minute here, at " in lines[4]
    assert lines[4].endswith(f"project {tmp_path / 'photos-models'}")
    assert main(["make", "photos", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["project"] == str(tmp_path / "photos-models")
    assert {"prepare", "shrink@all", "export@fast", "checksum"} <= set(found["planned_seconds"])
    assert listed(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["four"], "{top}/four: no class folders; put the photos of each class into a folder of its own"),
        (["one"], "{top}/one: only one class, a; at least two are needed"),
        (["texts"], "{top}/texts: no images (.jpg, .jpeg, .png, .webp, .bmp) among 1 files"),
        (["nowhere"], "{top}/nowhere: no such folder or .zip archive"),
        (["photos", "--ms", "-3"], "--ms: -3 is not above 0; the most is 1e+06"),
        (["photos", "--ms", "fast"], "argument --ms: invalid float value: 'fast'; see `ofa make --help`"),
        (
            ["photos", "--out", "texts"],
            "--out: {top}/texts: holds other files; name a new folder, or one that `ofa make` has made",
        ),
        (["photos", "--out", "photos/models"], "--out: {top}/photos/models lies inside the photos; name a folder elsewhere"),
        (["photos", "--device", "toaster"], "--device: toaster: allowed are host, android and android:SERIAL"),
        (
            ["photos", "--device", "android:R5", "--benchmark-model", "nowhere"],
            "--device: android:R5: binary: {top}/nowhere: no such file; it is TensorFlow's benchmark_model, "
            "built for the phone",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_with_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    folder(tmp_path / "photos", {"a": 15, "b": 15})
    folder(tmp_path, {"four": 4})
    folder(tmp_path / "one", {"a": 30})
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/thesis.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    before = listed(tmp_path)
    try:
        code = main(["make", *arguments])
    except SystemExit as error:  # argparse's own
        code = int(str(error.code))
    out, err = capsys.readouterr()
    assert (code, out, err) == (2, "", f"error: {message.format(top=tmp_path)}\n")
    assert listed(tmp_path) == before


def test_the_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from ofa_core.commands.main import build_parser; build_parser('make');"
        "print(sorted({'torch', 'numpy', 'PIL', 'pydantic', 'ruamel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
