"""Stage train_baselines: networks to compare the searched ones with, each trained alone; none by default."""

import shutil

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.baselines.training import starts, train_baselines
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/baselines/ and reports/train_baselines.json."""
    with running("train_baselines") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared, machine = stage.params.read("training", TrainingParams), stage.machine()
        params = stage.params.read("train_baselines", TrainBaselinesParams)
        dataset = stage.input(paths.DATASET)

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        if params.pretrained:
            stage.input(paths.STARTING)
        networks = starts(params, space, len(train_images.classes), paths.STARTING, shared.zero_residuals)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            if group.is_first:
                shutil.rmtree(paths.BASELINES, ignore_errors=True)
                paths.BASELINES.mkdir(parents=True)
            metrics = train_baselines(
                networks, evaluator, params, shared, machine, paths.BASELINES, seed=seed, work=work, group=group
            )
            group.wait()  # until all have read what the first one deletes at the end
            if group.is_first:
                files.write_json(paths.report("train_baselines"), {"split": "val", "seed": seed, "networks": metrics})


if __name__ == "__main__":
    exit_cleanly(main)
