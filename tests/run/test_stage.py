"""What stages share: inputs that change during a run, work folders, locks, clean exits."""

from pathlib import Path

import numpy as np
import pytest

from ofa_core.run import files
from ofa_core.run.errors import InputError
from ofa_core.run.stage import exit_cleanly, running


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a parameter file and an input."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("seed: 1\nother: 1\n")
    Path("input.txt").write_text("one")
    return tmp_path


def test_nothing_changed(workspace: Path) -> None:
    with running("demo") as stage:
        assert stage.params.read("seed", int) == 1
        assert stage.input(Path("input.txt")).read_text() == "one"
        Path("params.yaml").write_text("seed: 1\nother: 2\n")  # not a section it read


@pytest.mark.parametrize(
    ("path", "content", "named"),
    [("input.txt", "two", "input.txt"), ("params.yaml", "seed: 2\n", "params.yaml: seed"), ("input.txt", None, "input.txt")],
)
def test_changed_inputs_fail_the_stage(workspace: Path, path: str, content: str | None, named: str) -> None:
    def run() -> None:
        with running("demo") as stage:
            stage.params.read("seed", int)
            stage.input(Path("input.txt"))
            if content is None:
                Path(path).unlink()
            else:
                Path(path).write_text(content)

    with pytest.raises(ValueError, match=f"^demo: changed while the stage ran, so nothing is recorded: {named}$"):
        run()


def test_the_machine_may_change_meanwhile(workspace: Path) -> None:
    """Its section can be edited while a stage runs. After a kill the work folder is found again."""
    sections = "seed: 1\nmachine: {launcher: python, tensorboard: false, checkpoint_seconds: %s}\n"

    def folder(before: int, after: int) -> Path:
        Path("params.yaml").write_text(sections % before)
        with running("demo") as stage:
            stage.params.read("seed", int)
            assert stage.machine().checkpoint_seconds == before
            with pytest.raises(KeyboardInterrupt), stage.work_folder() as work:
                raise KeyboardInterrupt
            Path("params.yaml").write_text(sections % after)
        return work

    assert folder(20, 30) == folder(40, 40)
    Path("params.yaml").write_text(sections % -1)
    with running("demo") as stage, pytest.raises(ValueError, match=r"^params\.yaml: machine\.checkpoint_seconds: -1: input"):
        stage.machine()


def test_a_parameter_is_named_with_its_file(workspace: Path) -> None:
    for message, passed_on in (("other.key: 1: x", "params.yaml: other.key: 1: x"), ("others: x", "others: x")):
        with pytest.raises(ValueError, match=f"^{passed_on}$"), running("demo"):
            raise InputError(message)


def test_missing_input(workspace: Path) -> None:
    with running("demo") as stage, pytest.raises(ValueError, match=r"nowhere\.npz: no such file"):
        stage.input(Path("nowhere.npz"))


def test_reports_are_cut_into_metrics_and_details(workspace: Path) -> None:
    for item, top1 in (("fast", 0.5), ("slow", 0.75)):
        with running(f"demo@{item}") as stage:
            stage.write_report({"top1": top1, "split": "val", "float": {"top1": 1.0}})
    assert files.read_json("reports/demo/fast.json") == {"top1": 0.5}
    assert files.read_json("reports/demo/fast_details.json") == {"split": "val", "float": {"top1": 1.0}}
    with running("after") as stage:
        assert stage.reports("demo", ["fast", "slow"]) == {
            "fast": {"top1": 0.5, "split": "val", "float": {"top1": 1.0}},
            "slow": {"top1": 0.75, "split": "val", "float": {"top1": 1.0}},
        }
    with running("after") as stage:
        assert list(stage.reports("demo", ["slow"])) == ["slow"]  # fast is left over, from other parameters
        files.write_json("reports/demo/slow_details.json", {"split": "test"})
        with pytest.raises(ValueError, match=r"recorded: reports/demo/slow_details\.json$"):
            stage.check_unchanged()
        files.write_json("reports/demo/slow_details.json", {"split": "val", "float": {"top1": 1.0}})


def test_report_of_a_stage_without_items(workspace: Path) -> None:
    with running("demo") as stage:
        stage.write_report({"loss": 1.5, "steps": 3})
        assert stage.report("demo") == {"loss": 1.5, "steps": 3}
    assert files.read_json("reports/demo.json") == {"loss": 1.5}
    with running("after") as stage:
        with pytest.raises(ValueError, match=r"^reports/other\.json: no such file"):
            stage.report("other")
        with pytest.raises(InputError, match=r"^reports/other/fast\.json: no such file"):
            stage.reports("other", ["fast"])


def test_work_folder_is_that_of_its_inputs(workspace: Path) -> None:
    def folder() -> Path:
        with running("demo") as stage:
            stage.params.read("seed", int)
            stage.input(Path("input.txt"))
            with pytest.raises(KeyboardInterrupt), stage.work_folder() as work:
                raise KeyboardInterrupt  # an interrupted run keeps its folder
            return work

    first = folder()
    assert folder() == first
    assert first.is_dir()
    Path("params.yaml").write_text("seed: 2\n")
    second = folder()
    Path("input.txt").write_text("two")
    assert len({first, second, folder()}) == 3


def test_work_folder_goes_after_success(workspace: Path) -> None:
    with running("demo") as stage, stage.work_folder() as work:
        (work / "checkpoint").write_text("x")
    assert not work.exists()


def test_second_writer_is_refused(workspace: Path) -> None:
    with running("demo") as one, running("demo") as two, one.work_folder(), pytest.raises(ValueError, match="another process"):
        two.work_folder().__enter__()


def test_clean_exits(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise InputError("params.yaml: seed:\n  missing")

    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(fail)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: params.yaml: seed: missing\n"


def test_a_mistake_in_the_code_keeps_its_traceback(workspace: Path) -> None:
    def fail() -> None:
        with running("demo"):
            np.zeros(2).reshape(3)

    with pytest.raises(ValueError, match="cannot reshape"):
        exit_cleanly(fail)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new/a.json"
    files.write_json(path, {"b": 1, "a": 2})
    assert path.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, {"a": float("nan")})

    def half() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        half()
    assert files.read_json(path) == {"a": 2, "b": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
