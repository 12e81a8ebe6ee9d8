"""Stage fit_predictor: fits the accuracy predictor, and measures it on every architecture, as predicted from all others."""

from pathlib import Path

from ofa_core.predictor.accuracy import AccuracyPredictor
from ofa_core.predictor.accuracy_table import Accuracies
from ofa_core.predictor.fitting import check, check_published, fit_predictors
from ofa_core.predictor.official import OfficialPredictor
from ofa_core.predictor.params import FitPredictorParams
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running


def main() -> None:
    """Writes build/predictor/, its report and the predicted and measured values."""
    with running("fit_predictor") as stage:
        params = stage.params.read("fit_predictor", FitPredictorParams)
        measured = Accuracies.read(stage.input(paths.ACCURACIES))

        predictors: dict[str, AccuracyPredictor | OfficialPredictor] = {}
        if params.file is None:
            fitted = fit_predictors(measured, params.target)
            predictors |= fitted
            checked = {name: check(predictor, params.coverage) for name, predictor in fitted.items()}
        else:
            path = stage.pinned(Path(params.file), params.file_md5, "fit_predictor.file_md5")
            published = OfficialPredictor.load(path).restricted(measured.space)
            predictors["top1"] = published
            checked = {"top1": check_published(published, measured)}
        with files.replacing_folder(paths.PREDICTORS) as folder:
            for name, predictor in predictors.items():
                predictor.save(folder / paths.predictor(name).name)
        quality, points = checked.pop("top1")
        stage.write_report(quality | {name: found for name, (found, _) in checked.items()})
        content = points.to_csv(index=False, float_format="%.6g")
        files.write_bytes(paths.report("fit_predictor", suffix=".csv"), content.encode())


if __name__ == "__main__":
    exit_cleanly(main)
