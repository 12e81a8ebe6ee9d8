"""Which stages an edit runs again: every edit is made in a finished pipeline, and `dvc repro --dry` is asked.

A dry run compares each stage with the files on disk, so it names the stages that an edit reaches at once, through their own
dependencies. Whether those after them run depends on what the first ones write: equal bytes end it there. The second column of
the table says how far it goes if they never are equal.
"""

from dataclasses import dataclass
from pathlib import PurePath

import pytest
import yaml

from ofa_core.run.params import ParamsFile
from tests.conftest import REPO
from tests.pipeline.conftest import Clone

PARAMS = ParamsFile(REPO / "params/ci.yaml")
PHASES = {f"shrink@{name}" for name in PARAMS.raw("shrink.phases")}
TARGETS = PARAMS.raw("search.targets")
TRAINING = {"train_supernet", "train_baselines"} | PHASES


def of_targets(stage: str) -> set[str]:
    """A stage's items, one for each target."""
    return {f"{stage}@{target}" for target in TARGETS}


@dataclass(frozen=True)
class Edit:
    """An edit: in `file`, text `old` becomes `new`; or, without `old`, `new` is added to the end."""

    what: str
    file: str
    old: str
    new: str
    stages: set[str]
    """The stages that run at once."""


COMMENT = "# edited\n"
OF_TRAINING = TRAINING | {"collect_accuracies", "compare"} | of_targets("specialize")
OF_LAYERS = OF_TRAINING | {"build_latency_table@host"} | of_targets("export")
OF_MACHINE = OF_TRAINING if "launcher" in PARAMS.raw("training") else set()
"""Of the section `machine`: nothing. MERGE: while its keys are in the section `training`, all that tracks that one."""
EDITS = (
    Edit("reader of an image format", "ofa_core/datasets/idx.py", "", COMMENT, {"prepare"}),
    Edit("prepare.val_images", "params.yaml", "val_images: 500", "val_images: 600", {"prepare"}),
    Edit("search engine", "ofa_core/search/evolution.py", "", COMMENT, {"search"}),
    Edit("export gate", "ofa_core/export/int8_drop.py", "", COMMENT, of_targets("export")),
    Edit("export.max_int8_drop", "params.yaml", "max_int8_drop: 0.05", "max_int8_drop: 0.06", of_targets("export")),
    Edit("report", "ofa_core/report/plots.py", "", COMMENT, {"compare"}),
    Edit("text of a card", "ofa_core/release/card.py", "", COMMENT, {"checksum"}),
    Edit("address of the zoo", "ofa_core/zoo/catalogue.py", "https://", "https://www.", set()),
    Edit("how files are written", "ofa_core/run/files.py", "", COMMENT, set()),
    Edit("machine.tensorboard", "params.yaml", "tensorboard: false", "tensorboard: true", OF_MACHINE),
    Edit("machine.checkpoint_seconds", "params.yaml", "checkpoint_seconds: 1", "checkpoint_seconds: 2", OF_MACHINE),
    Edit("machine.launcher", "params.yaml", "launcher: python", "launcher: torchrun", OF_MACHINE),
    Edit("a kind of layer", "ofa_core/nn/mbconv.py", "", COMMENT, OF_LAYERS),
)
"""None but the last trains a network again."""


def follow(clone: Clone, first: set[str]) -> set[str]:
    """The stages after `first` in the pipeline, directly or not."""
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    reads = {name: [PurePath(dep["path"]) for dep in stage["deps"]] for name, stage in lock.items()}
    writes = {name: [PurePath(out["path"]) for out in stage["outs"]] for name, stage in lock.items()}
    found, todo = set(first), list(first)
    while todo:
        outs = writes[todo.pop()]
        after = {name for name, deps in reads.items() for a in outs for b in deps if a.is_relative_to(b) or b.is_relative_to(a)}
        todo += after - found
        found |= after
    return found - first


def shown(stages: set[str], clone: Clone) -> str:
    """The stages in the order of the pipeline, each with the items that run, if not all do."""
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    parts = []
    for name in yaml.safe_load((clone.folder / "dvc.yaml").read_text())["stages"]:
        items = [stage for stage in lock if stage.partition("@")[0] == name]
        run = [stage for stage in items if stage in stages]
        parts += [name] if run == items else run
    return ", ".join(parts) or "-"


def test_edits(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    rows, wrong = [("edit", "stages that run at once", "stages after them, if what they read changed")], []
    for edit in EDITS:
        text = (clone.folder / edit.file).read_text()
        assert edit.old in text, f"{edit.file} lacks {edit.old}"
        (clone.folder / edit.file).write_text(text.replace(edit.old, edit.new, 1) if edit.old else text + edit.new)
        found = set(clone.would_run())
        clone.run("git", "checkout", "-q", "--", edit.file)
        rows.append((f"{edit.what} ({edit.file})", shown(found, clone), shown(follow(clone, found), clone)))
        if found != edit.stages:
            wrong.append(f"{edit.what}: {sorted(found)}, not {sorted(edit.stages)}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    with capsys.disabled():
        print("\n" + "\n".join(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows))
    assert not wrong, "\n".join(wrong)
    trained = [edit.what for edit in EDITS if edit.stages & TRAINING and not edit.what.startswith("machine.")]
    assert trained == ["a kind of layer"]
    assert clone.would_run() == []
