"""Stage checksum: fills release/ with the exported models, their cards, the manifest and the checksums."""

from pathlib import Path
from typing import Any

from ofa_core.datasets.params import PrepareParams
from ofa_core.datasets.prepare import about, preprocessing
from ofa_core.release.folder import ReleasedModel, write_release
from ofa_core.run import files, paths
from ofa_core.run.stage import Stage, exit_cleanly, running
from ofa_core.search.params import SearchParams


def main() -> None:
    """Writes release/."""
    with running("checksum") as stage:
        data = stage.params.read("prepare", PrepareParams)
        targets = stage.params.read("search", SearchParams).targets
        models = [_model(stage, name, data) for name in targets]
        write_release(paths.RELEASE, models)


def _model(stage: Stage, target: str, data: PrepareParams) -> ReleasedModel:
    stage.input(paths.exported(target))
    description = files.read_json(paths.exported_file(target, "description"))
    metrics = files.read_json(stage.input(paths.report("evaluate", target)))
    entry: dict[str, Any] = {"id": f"ofa-{target}", "task": "classification", "metrics": metrics} | about(data)
    entry |= {key: description[key] for key in ("arch", "input")}
    entry["preprocessing"] = description["preprocessing"] | preprocessing(data)
    exported: dict[str, Path] = {kind: paths.exported_file(target, kind) for kind in (*description["formats"], "labels")}
    return ReleasedModel(entry=entry, files=exported)


if __name__ == "__main__":
    exit_cleanly(main)
