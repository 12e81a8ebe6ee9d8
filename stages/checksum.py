"""Stage checksum: fills release/ with the exported models, their cards, the manifest and the checksums."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ofa_core.release.folder import ReleasedModel, write_release
from ofa_core.run import files, paths
from ofa_core.run.stage import Stage, exit_cleanly, running


def main() -> None:
    """Writes release/."""
    with running("checksum") as stage:
        data = files.read_json(stage.input(paths.DATASET_FACTS))
        targets = stage.params.read("search.targets", dict[str, Any])
        models = [_model(stage, name, data) for name in targets]
        write_release(paths.RELEASE, models)


def _model(stage: Stage, target: str, data: Mapping[str, Any]) -> ReleasedModel:
    stage.input(paths.exported(target))
    description = files.read_json(paths.exported_file(target, "description"))
    entry: dict[str, Any] = {"id": f"ofa-{target}", "task": "classification", "metrics": stage.report("evaluate", target)}
    entry |= {key: description[key] for key in ("arch", "input")}
    entry |= {key: data[key] for key in ("dataset", "dataset_license") if key in data}
    entry["preprocessing"] = description["preprocessing"] | {key: data[key] for key in ("shorter_side",) if key in data}
    exported: dict[str, Path] = {kind: paths.exported_file(target, kind) for kind in (*description["formats"], "labels")}
    return ReleasedModel(entry=entry, files=exported)


if __name__ == "__main__":
    exit_cleanly(main)
