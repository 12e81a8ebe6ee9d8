"""Trains and evaluates every network of the study, with three seeds. What is finished is not done again.

    python -m studies.photos.run GROCERY_PHOTOS [FOLDER]

GROCERY_PHOTOS is a folder or .zip archive with train/KIND and test/KIND of the Grocery Store data set. FOLDER (default:
build/photos) gets clones, cache, logs and models; `studies.study` says how a job works.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.latency.table import LatencyTable
from ofa_core.run import files, paths
from ofa_core.run.params import ParamsFile
from ofa_core.space.params import SpaceParams
from studies.study import Job, Result, Study, targets

HERE = Path("studies/photos")
TABLE = HERE / "latency.json"
SEEDS = (0, 1, 2)
BUDGETS = ("whole_r128", "whole_r112", "whole_r96", "whole_r80", "whole_r64")
"""Baselines with whose predicted latencies networks are searched, a target each."""
SMALLEST = {"whole_r64": {"kernel_size": 5, "depth": 4, "expand_ratio": 6, "resolution": 64}}
"""One more baseline, at a resolution that the super-network, and so the table, lacks."""
SMALLEST_MS = 0.19
"""Milliseconds to search for at its place, instead of a prediction."""


def main() -> None:
    """Measures the latency table with nothing else running, then trains two networks at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/photos"))
    args = parser.parse_args()
    study = PhotoStudy(HERE, args.folder, args.photos)
    study.run_all([("table", study.table)])
    names = study.profile["train_baselines"]["subnets"]
    for seed in SEEDS:
        jobs = [(f"{name}-{seed}", study.whole(name, seed)) for name in names] + [(f"searched-{seed}", study.searched(seed))]
        study.run_all(jobs)
    study.measure()


class PhotoStudy(Study):
    """The jobs of this study. photos: GROCERY_PHOTOS."""

    def __init__(self, here: Path, folder: Path, photos: Path) -> None:
        super().__init__(here, folder)
        self.profile["prepare"]["folder"] = str(photos.resolve())
        self.profile["train_baselines"]["subnets"] |= SMALLEST

    def table(self, job: str) -> Result:
        """Measures the latency table that all seeds use; the predicted milliseconds of each baseline."""
        clone = self.clone(job, {"prepare.folder": self.profile["prepare"]["folder"]})
        self.run(clone, job, "dvc", "repro", "build_latency_table@host")
        shutil.copyfile(clone / paths.latency_table("host"), TABLE)
        params, table = ParamsFile(clone / "params.yaml"), LatencyTable.load(TABLE)
        space = params.read("space", SpaceParams).build()
        subnets = params.read("train_baselines", TrainBaselinesParams).subnets
        found = {name: table.predict(space, subnet.arch(space)) for name, subnet in subnets.items()}
        return found | dict.fromkeys(SMALLEST, SMALLEST_MS)

    def searched(self, seed: int) -> Job:
        """The job that runs the pipeline up to exported files."""

        def train(job: str) -> Result:
            device = self.profile["build_latency_table"]["devices"]["host"]
            source = {"source": "file", "file": TABLE.as_posix(), "file_md5": files.md5(TABLE)}
            changes: dict[str, Any] = self._changes(seed) | {
                "build_latency_table.devices.host": dict(device) | source,
                "search.targets": {name: {"latency_ms": ms} for name, ms in self.result("table").items() if name in BUDGETS},
            }
            clone = self.clone(job, changes)
            (clone / TABLE).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TABLE, clone / TABLE)  # not in git before the study has ended
            self.run(clone, job, "dvc", "repro", "export")
            found = {target: self.exported(job, clone, target) for target in targets(clone)}
            once = ("train_supernet", "shrink/all", "collect_accuracies")
            each = [hours(clone, f"specialize/{target}") for target in targets(clone)]
            return found | {"hours": {"once": [hours(clone, name) for name in once], "each": each}}

        return train

    def whole(self, name: str, seed: int) -> Job:
        """The job that fine-tunes the whole network at one resolution."""
        own = self.profile["train_baselines"]["subnets"][name]["resolution"]
        return lambda job: self.alone(job, name, self._changes(seed) | {"space.resolutions": [own]})

    def _changes(self, seed: int) -> dict[str, Any]:
        return {"seed": seed, "prepare.folder": self.profile["prepare"]["folder"]}


def hours(clone: Path, report: str) -> float:
    """CPU core hours in a stage's report."""
    names = [clone / paths.report(name) for name in (report, f"{report}_details")]
    [value] = [
        found["cpu_core_hours"] for path in names if path.exists() and "cpu_core_hours" in (found := files.read_json(path))
    ]
    return float(value)


if __name__ == "__main__":
    main()
