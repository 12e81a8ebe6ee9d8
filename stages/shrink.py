"""Stage shrink: one phase of progressive shrinking."""

import argparse
from pathlib import Path

from ofa_core.nn import build_supernet
from ofa_core.nn.weights import describe, load_full, load_weights, save_weights
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.space.registry import space_of
from ofa_core.training.checkpoint import COLUMNS
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, Validation, train
from ofa_core.training.metrics import at_extremes, supernet_metrics, write_history
from ofa_core.training.params import Epochs, PhaseParams, TrainingParams
from ofa_core.training.shrinking import corners, phase_draw, phase_objective, phase_sampler, read_latencies, sort_for_phase


def main() -> None:
    """Writes build/supernet/PHASE.safetensors, its report and its curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", required=True, help="a name under shrink.phases")
    name = parser.parse_args().phase
    with running(f"shrink@{name}") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared, machine = stage.params.read("training", TrainingParams), stage.machine()
        phase = stage.params.read(f"shrink.phases.{name}", PhaseParams)
        validate_epochs = stage.params.read("shrink.validate_epochs", Epochs)
        table = stage.input(Path(stage.params.read("shrink.latency_table", str)))
        dataset = stage.input(paths.DATASET)
        start, full = stage.input(paths.supernet(phase.init)), stage.input(paths.supernet("full"))

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        net, part = build_supernet(space, len(train_images.classes)), phase.part(space)
        latencies = read_latencies(table, part, net.num_classes) if phase.draw == "latency" else None
        sampler = phase_sampler(net, part, phase, phase_draw(part, phase, latencies, f"shrink.phases.{name}", seed))
        objective = phase_objective(phase, shared, load_full(full, net))
        sort_for_phase(net, part, space_of(load_weights(start, net)["space"]))
        schedule = Schedule(epochs=phase.epochs, warmup_epochs=phase.warmup_epochs, lr=phase.lr, final=shared.final_lr)
        validation = Validation(epochs=validate_epochs, measure=lambda _: evaluator.subnet_scores(net, corners(part)))
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            progress = train(
                net, train_images, sampler, objective, schedule, shared, machine,
                phase=name, seed=seed, work=work, group=group, validation=validation,
            )  # fmt: skip
            if group.is_first:
                save_weights(paths.supernet(name), net, describe(net, part))
                stage.write_report(
                    supernet_metrics(net, evaluator, at_extremes(corners(part), space.resolutions), progress, group)
                )
                write_history(paths.report("shrink", name, suffix=".csv"), progress.history, COLUMNS)
                write_history(
                    paths.report("shrink", f"{name}_val", suffix=".csv"), progress.validations, ("epoch", *corners(part))
                )


if __name__ == "__main__":
    exit_cleanly(main)
