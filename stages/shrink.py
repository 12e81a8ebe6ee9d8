"""Stage shrink: one phase of progressive shrinking, with the full network as the teacher."""

import argparse

from ofa_core.nn import build_supernet
from ofa_core.nn.weights import describe, load_full, load_weights, save_weights
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import Evaluator, use_threads
from ofa_core.training.images import Images
from ofa_core.training.loop import Schedule, Teacher, train
from ofa_core.training.metrics import at_extremes, supernet_metrics, write_history
from ofa_core.training.params import DistillWeight, PhaseParams, TrainingParams
from ofa_core.training.shrinking import in_supernet, phase_choices, phase_corners, phase_sampler, sort_for_phase


def main() -> None:
    """Writes build/supernet/PHASE.safetensors, its report and its loss curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", required=True, help="a name under shrink.phases")
    name = parser.parse_args().phase
    with running(f"shrink@{name}") as stage:
        seed = stage.params.read("seed", int)
        space = stage.params.read("space", SpaceParams).build()
        shared, machine = stage.params.read("training", TrainingParams), stage.machine()
        distill_weight = stage.params.read("shrink.distill_weight", DistillWeight)
        phase = stage.params.read(f"shrink.phases.{name}", PhaseParams)
        dataset = stage.input(paths.DATASET)
        start, full = stage.input(paths.supernet(phase.init)), stage.input(paths.supernet("full"))

        use_threads(shared.threads)
        train_images, val_images = Images(dataset, "train"), Images(dataset, "val")
        evaluator = Evaluator(train_images, val_images, shared.bn_images, seed)
        net = build_supernet(space, len(train_images.classes), shared.dropout)
        teacher = Teacher(net=load_full(full, net) if phase.teacher == "full" else None, weight=distill_weight)
        supports = load_weights(start, net)["supports"]
        sort_for_phase(net, phase, supports["expand_ratios"])
        schedule = Schedule(epochs=phase.epochs, warmup_epochs=phase.warmup_epochs, lr=phase.lr)
        sampler = in_supernet(net, phase_sampler(space, phase))
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            progress = train(
                net, train_images, sampler, space.resolutions, schedule, shared, machine,
                phase=name, seed=seed, work=work, teacher=teacher, group=group,
            )  # fmt: skip
            if group.is_first:
                save_weights(paths.supernet(name), net, describe(net, phase_choices(phase)))
                corners = at_extremes(phase_corners(space, phase), space.resolutions)
                stage.write_report(supernet_metrics(net, evaluator, corners, progress, group))
                write_history(paths.report("shrink", name, suffix=".csv"), progress.history)


if __name__ == "__main__":
    exit_cleanly(main)
