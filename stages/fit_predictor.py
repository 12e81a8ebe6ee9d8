"""Stage fit_predictor: fits the accuracy predictor and measures it on held-out architectures."""

from ofa_core import files
from ofa_core.predictor.fitting import fit_and_check
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.spaces import SpaceParams
from ofa_core.stage import exit_cleanly, running
from ofa_core.training.collect import read_accuracies


def main() -> None:
    """Writes build/predictor.npz, its metrics and the points predicted against measured."""
    with running("fit_predictor") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        params = stage.params.read("fit_predictor", FitPredictorParams)
        archs, top1 = read_accuracies(stage.input(files.ACCURACIES))

        predictor, quality, points = fit_and_check(space, archs, top1, params, seed)
        predictor.save(files.PREDICTOR)
        files.write_json(files.report("fit_predictor"), quality)
        content = points.to_csv(index=False, float_format="%.6g")
        files.write_bytes(files.report("fit_predictor", suffix=".csv"), content.encode())


if __name__ == "__main__":
    exit_cleanly(main)
