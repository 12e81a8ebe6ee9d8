"""Stage quantize_detector: trains a target's detector with the rounding of its integer file."""

import argparse

from ofa_core.detector_tuning.params import QuantizeDetectorParams
from ofa_core.detectors.optimizers import OPTIMIZERS
from ofa_core.detectors.params import DetectorParams, TrainDetectorParams
from ofa_core.detectors.splits import load_evaluator
from ofa_core.nn.weights import load_network, read_description, save_network
from ofa_core.quantization.fake import FakeQuantized
from ofa_core.run import paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams
from ofa_core.specialize.fine_tuning import FineTuning
from ofa_core.training.distributed import joined
from ofa_core.training.evaluation import use_threads
from ofa_core.training.metrics import cost
from ofa_core.training.params import TrainingParams


def main() -> None:
    """Writes build/detector/TARGET/aware.safetensors, if it is asked for, and its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a name under search_detector.targets")
    name = parser.parse_args().target
    with running(f"quantize_detector@{name}") as stage:
        seed, machine = stage.params.read("seed", int), stage.machine()
        design = stage.params.read("detector", DetectorParams).design(stage.params.read("space", SpaceParams))
        elastic = stage.params.read("train_detector", TrainDetectorParams)
        shared = elastic.of(stage.params.read("training", TrainingParams))
        params = stage.params.read("quantize_detector", QuantizeDetectorParams)
        post, dataset = stage.input(paths.tuned_detector(name, "post")), stage.input(paths.DETECTION)

        use_threads(shared.threads)
        evaluator = load_evaluator(dataset, design, shared.bn_images, seed)
        net, arch = load_network(post)
        with joined(shared.device) as group, stage.work_folder(group.is_first) as work:
            tuning = FineTuning(
                evaluator=evaluator, teacher=None, params=params.tuning, shared=shared, machine=machine, phase=stage.name,
                seed=seed, group=group, optimizer=OPTIMIZERS[elastic.optimizer],
            )  # fmt: skip
            tuned, seconds = tuning.specialize(net, "aware", work)
            if group.is_first:
                assert isinstance(tuned, FakeQuantized)
                score = evaluator.score(tuned, arch.r)
                save_network(paths.tuned_detector(name, "aware"), tuned.network, arch, read_description(post), tuned.ranges)
                stage.write_report({"map": score, "split": "val"} | cost(seconds, group))


if __name__ == "__main__":
    exit_cleanly(main)
