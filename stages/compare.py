"""Stage compare: searched networks against others trained alone, shrunk against cut sub-networks, and the cost of training."""

from ofa_core.baselines.params import TrainBaselinesParams
from ofa_core.convert.params import HardSwishChoice
from ofa_core.evaluation.params import EvaluateParams
from ofa_core.images.packed import load_split
from ofa_core.nn import build_supernet
from ofa_core.nn.weights import load_layers, load_weights
from ofa_core.quantization.params import Calibration
from ofa_core.report.comparison import Conversion, measure_baselines, pareto, shrinking, training_cost, uniform_archs
from ofa_core.report.plots import plot_cost, plot_pareto, plot_shrinking
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.tasks.registry import get_task
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes reports/compare.json, and the tables and plots in reports/compare/."""
    with running("compare") as stage:
        seed, last = stage.params.read("seed", int), stage.params.read("shrink.last", str)
        space = stage.params.read("space", SpaceParams).build()
        shared = stage.params.read("training", TrainingParams)
        params = stage.params.read("train_baselines", TrainBaselinesParams)
        conversion = Conversion(
            hard_swish=stage.params.read("export.hard_swish", HardSwishChoice),
            calibration=stage.params.read("export.calibration", Calibration),
            images=stage.params.read("export.calibration_images", int),
            seed=stage.params.read("export.calibration_seed", int),
        )
        timing = stage.params.read("evaluate", EvaluateParams)
        dataset, weights = stage.input(paths.DATASET), stage.input(paths.BASELINES)
        phases = stage.reports("shrink", stage.params.read("shrink.phases", dict[str, object]))
        targets = stage.params.read("search.targets", dict[str, object])
        specialized, searched = (stage.reports(name, targets) for name in ("specialize", "evaluate"))
        once = [stage.report(name) for name in ("train_supernet", "collect_accuracies")]
        trained = files.read_json(stage.input(paths.report("train_baselines")))["networks"]

        use_threads(shared.threads)
        train, test = load_split(dataset, "train"), load_split(dataset, "test")
        networks = {name: weights / f"{name}.safetensors" for name in params.families}
        measured = measure_baselines(networks, train, test, conversion, timing, get_task("classification"))
        full, shrunk = (build_supernet(space, len(test.classes)) for _ in range(2))
        for net, phase in ((full, "full"), (shrunk, last)):
            load_weights(stage.input(paths.supernet(phase)), net)
        archs = {name: subnet.arch(space) for name, subnet in params.subnets.items()} or uniform_archs(space)
        alone = {name: load_layers(networks[name]) for name in params.subnets}
        on_test, on_val = (
            Evaluator(Images(dataset, "train"), Images(dataset, split), shared.bn_images, seed) for split in ("test", "val")
        )
        tables = {
            "pareto": pareto(searched, measured, params.families, len(test.labels)),
            "shrinking": shrinking(full, shrunk, archs, alone, on_test, on_val),
            "cost": training_cost([*once, *phases.values()], list(specialized.values()), list(trained.values())),
        }
        for (name, table), plot in zip(tables.items(), (plot_pareto, plot_shrinking, plot_cost), strict=True):
            files.write_bytes(paths.report("compare", name, ".csv"), table.to_csv(index=False, float_format="%.6g").encode())
            plot(paths.report("compare", name, ".svg"), table)
        files.write_json(paths.report("compare"), {"split": "test", "seed": seed, "baselines": measured})


if __name__ == "__main__":
    exit_cleanly(main)
