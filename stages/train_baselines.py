"""Stage train_baselines: networks that the searched ones are compared with, each trained alone; none by default."""

import shutil

from ofa_core import files
from ofa_core.spaces import SpaceParams
from ofa_core.stage import exit_cleanly, running
from ofa_core.training.baselines import baseline_layers, train_baselines
from ofa_core.training.baselines_params import TrainBaselinesParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/baselines/ and reports/train_baselines.json."""
    with running("train_baselines") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("train_baselines", TrainBaselinesParams)
        dataset = stage.input(files.DATASET)

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        networks = baseline_layers(params, space, len(train_images.classes))
        shutil.rmtree(files.BASELINES, ignore_errors=True)
        files.BASELINES.mkdir(parents=True)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            metrics = train_baselines(networks, evaluator, params, shared, files.BASELINES, seed=seed, work=work, group=group)
            if group.is_first:
                files.write_json(files.report("train_baselines"), {"split": "val", "networks": metrics})


if __name__ == "__main__":
    exit_cleanly(main)
