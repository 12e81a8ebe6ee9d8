"""Stage fit_predictor: fits the accuracy predictor and measures it on held-out architectures."""

import numpy as np

from ofa_core.predictor.accuracy_table import read_accuracies
from ofa_core.predictor.fitting import fit_and_check, fit_quantized_and_check
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams


def main() -> None:
    """Writes build/predictor/, its report and the predicted and measured values."""
    with running("fit_predictor") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        params = stage.params.read("fit_predictor", FitPredictorParams)
        archs, top1 = read_accuracies(stage.input(paths.ACCURACIES))
        _, int8_top1 = read_accuracies(paths.ACCURACIES, "int8_top1")

        predictor, quality, points = fit_and_check(space, archs, top1, params, seed)
        with files.replacing_folder(paths.PREDICTORS) as folder:
            predictor.save(folder / paths.predictor().name)
            if not np.isnan(int8_top1).all():
                predictor, quality["int8"], _ = fit_quantized_and_check(space, archs, top1, int8_top1, params, seed)
                predictor.save(folder / paths.predictor("int8_top1").name)
        stage.write_report(quality)
        content = points.to_csv(index=False, float_format="%.6g")
        files.write_bytes(paths.report("fit_predictor", suffix=".csv"), content.encode())


if __name__ == "__main__":
    exit_cleanly(main)
