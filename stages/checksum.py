"""Stage checksum: fills release/ with the exported models, their cards, the manifest and the checksums."""

from pathlib import Path
from typing import Any

from ofa_core import files
from ofa_core.data.params import PrepareParams
from ofa_core.data.prepare import about, preprocessing
from ofa_core.release import ReleasedModel, write_release
from ofa_core.search.params import SearchParams
from ofa_core.stage import Stage, exit_cleanly, running


def main() -> None:
    """Writes release/."""
    with running("checksum") as stage:
        data = stage.params.read("prepare", PrepareParams)
        targets = stage.params.read("search", SearchParams).targets
        models = [_model(stage, name, data) for name in targets]
        write_release(files.RELEASE, models)


def _model(stage: Stage, target: str, data: PrepareParams) -> ReleasedModel:
    stage.input(files.exported(target))
    description = files.read_json(files.exported_file(target, "description"))
    metrics = files.read_json(stage.input(files.report("evaluate", target)))
    entry: dict[str, Any] = {"id": f"ofa-{target}", "task": "classification", "metrics": metrics} | about(data)
    entry |= {key: description[key] for key in ("arch", "input")}
    entry["preprocessing"] = description["preprocessing"] | preprocessing(data)
    paths: dict[str, Path] = {kind: files.exported_file(target, kind) for kind in (*description["formats"], "labels")}
    return ReleasedModel(entry=entry, files=paths)


if __name__ == "__main__":
    exit_cleanly(main)
