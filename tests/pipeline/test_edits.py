"""Which stages an edit reruns: every edit is made in a finished pipeline, followed by `dvc repro --dry`.

A dry run compares each stage with the files on disk, so it names only the stages that depend on the edit directly. Whether
later stages run depends on what the first ones write: equal bytes end it there. The table's last column says how far it can
go. After prepare, build_latency_table runs only if dataset.json changed, and that file has no number of images.
"""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pytest
import yaml

from tests.pipeline.conftest import Clone

pytestmark = pytest.mark.slow

TRAINING = {"train_supernet", "shrink", "train_baselines"}
OF_TRAINING = TRAINING | {"collect_accuracies", "choose", "specialize", "compare"}
OF_LAYERS = OF_TRAINING | {"fetch_weights", "examine", "build_latency_table", "export"}


@dataclass(frozen=True)
class Edit:
    """An edit: in `file`, text `old` becomes `new`. Without `old`, `new` is added at the end."""

    what: str
    file: str
    old: str
    new: str
    stages: set[str]
    """The stages that run at once, with every item."""


COMMENT = "# edited\n"
EDITS = (
    Edit("reader of an image format", "ofa_core/datasets/idx.py", "", COMMENT, {"prepare"}),
    Edit("prepare.val_images", "params.yaml", "val_images: 500", "val_images: 600", {"prepare"}),
    Edit("search engine", "ofa_core/search/evolution.py", "", COMMENT, {"search"}),
    Edit("export gate", "ofa_core/export/int8_drop.py", "", COMMENT, {"export"}),
    Edit("export.max_int8_drop", "params.yaml", "max_int8_drop: 0.05", "max_int8_drop: 0.06", {"export"}),
    Edit("report", "ofa_core/report/plots.py", "", COMMENT, {"compare"}),
    Edit("text of a card", "ofa_core/release/card.py", "", COMMENT, {"checksum"}),
    Edit("address of the zoo", "ofa_core/zoo/catalogue.py", "https://", "https://www.", set()),
    Edit("how files are written", "ofa_core/run/files.py", "", COMMENT, set()),
    Edit("machine.tensorboard", "params.yaml", "tensorboard: false", "tensorboard: true", set()),
    Edit("machine.checkpoint_seconds", "params.yaml", "checkpoint_seconds: 1", "checkpoint_seconds: 2", set()),
    Edit("machine.launcher", "params.yaml", "launcher: python", "launcher: torchrun", set()),
    Edit("a kind of layer", "ofa_core/nn/mbconv.py", "", COMMENT, OF_LAYERS),
)
"""Only the last one trains a network again."""


def read(clone: Clone, name: str) -> dict[str, Any]:
    """The stages in dvc.yaml or, item by item, in dvc.lock."""
    stages: dict[str, Any] = yaml.safe_load((clone.folder / name).read_text())["stages"]
    return stages


def together(items: set[str], clone: Clone) -> list[str]:
    """Stages in the order of the pipeline: by name if all items of a stage are among these, otherwise by item."""
    lock, found = read(clone, "dvc.lock"), []
    for name in read(clone, "dvc.yaml"):
        every = [item for item in lock if item.partition("@")[0] == name]
        some = [item for item in every if item in items]
        found += [name] if some and some == every else some
    return found


def after(first: set[str], clone: Clone) -> set[str]:
    """The items of stages that depend on these, directly or not."""
    lock = read(clone, "dvc.lock")
    reads = {name: [PurePath(dep["path"]) for dep in stage["deps"]] for name, stage in lock.items()}
    writes = {name: [PurePath(out["path"]) for out in stage["outs"]] for name, stage in lock.items()}
    found, todo = set(first), list(first)
    while todo:
        outs = writes[todo.pop()]
        more = {name for name, deps in reads.items() for a in outs for b in deps if a.is_relative_to(b) or b.is_relative_to(a)}
        todo += more - found
        found |= more
    return found - first


def test_edits(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    rows, wrong = [("edit", "stages that run at once", "stages after them, if what they read changed")], []
    for edit in EDITS:
        text = (clone.folder / edit.file).read_text()
        assert edit.old in text, f"{edit.file} lacks {edit.old}"
        (clone.folder / edit.file).write_text(text.replace(edit.old, edit.new, 1) if edit.old else text + edit.new)
        items = set(clone.would_run())
        clone.run("git", "checkout", "-q", "--", edit.file)
        found, later = together(items, clone), together(after(items, clone), clone)
        rows.append((f"{edit.what} ({edit.file})", ", ".join(found) or "-", ", ".join(later) or "-"))
        if set(found) != edit.stages:
            wrong.append(f"{edit.what}: {sorted(found)}, not {sorted(edit.stages)}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    with capsys.disabled():
        print("\n" + "\n".join(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows))
    assert not wrong, "\n".join(wrong)
    trained = [edit.what for edit in EDITS if edit.stages & TRAINING]
    assert trained == ["a kind of layer"]
    assert clone.would_run() == []
