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
        detectors = stage.params.read("search_detector.targets", dict[str, Any])
        models = [_model(stage, name, data) for name in targets] + [_detector(stage, name) for name in detectors]
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


def _detector(stage: Stage, target: str) -> ReleasedModel:
    name = paths.exported_detector(target)
    stage.input(paths.exported(name))
    metrics = files.read_json(stage.input(paths.detector_metrics(target)))
    description = files.read_json(paths.exported_file(name, "description"))
    entry: dict[str, Any] = {"id": name, "task": "detection", "metrics": metrics}
    entry |= {key: description[key] for key in ("arch", "input", "preprocessing", "postprocess", "dataset")}
    entry |= {key: description[key] for key in ("dataset_license",) if key in description}
    kinds = (*description["formats"], "labels")
    return ReleasedModel(entry=entry, files={kind: paths.exported_file(name, kind) for kind in kinds})


if __name__ == "__main__":
    exit_cleanly(main)
